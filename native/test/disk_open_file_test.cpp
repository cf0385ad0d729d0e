// Opening files for strangers: nothing outside of the root, nothing that blocks, the right sibling.
#include "core/disk/open_file.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <thread>

#include "core/disk/system.h"
#include "test/disk_rig.h"
#include "test/harness.h"

#if defined(__linux__)
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

namespace millrace {
namespace {

using test::Mailbox;
using test::TempFolder;

bool kernel_watches_paths() {
  Fd here(open_beneath(AT_FDCWD, ".", O_RDONLY | O_CLOEXEC, false));
  return here.is_open();
}

// A folder beside a file that nobody may get, with every kind of link.
struct Tree {
  Tree() {
    EXPECT(::mkdirat(outer.fd.get(), "root", 0755) == 0);
    EXPECT(::mkdirat(outer.fd.get(), "root/sub", 0755) == 0);
    outer.write("secret", "secret");
    outer.write("root/plain", "plain");
    outer.write("root/sub/deep", "deep");
    outer.write("root/..dots", "dots");
    link("plain", "inside");
    link("sub", "folder-link");
    link("../plain", "sub/back");
    link("inside", "chain-inside");
    link("../secret", "up");
    link("up", "chain");
    link("chain", "chain-of-chains");
    link("sub/../../secret", "winding");
    link(outer.at("secret"), "absolute");
    link(outer.at("root/plain"), "absolute-inside");
    link("..", "parent");
    link("loop", "loop");
    link("nothing", "dangling");
    root = Fd(::open(outer.at("root").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  void link(const std::string& target, const std::string& name) const {
    EXPECT(::symlink(target.c_str(), outer.at("root/" + name).c_str()) == 0);
  }
  [[nodiscard]] OpenRequest request(const std::string& path, bool follow_links = false) const {
    return {.root = root.get(), .path = path, .follow_links = follow_links, .content_max = 100};
  }
  TempFolder outer;
  Fd root;
};

std::string content_of(const OpenedFile& opened) { return std::string(opened.content.bytes()); }

constexpr Bytes kRegular[] = {"plain", "sub/deep", "sub//deep", "./sub/./deep", "..dots"};

constexpr Bytes kEscapes[] = {"../secret",
                              "sub/../../secret",
                              "sub/../plain",
                              "..",
                              "sub/..",
                              "/etc/passwd",
                              "//etc/passwd",
                              "up",
                              "chain",
                              "chain-of-chains",
                              "winding",
                              "absolute",
                              "absolute-inside",
                              "parent/secret",
                              "parent/root/plain",
                              "parent",
                              "loop"};

bool is_refusal(int error) { return error == EXDEV || error == ELOOP; }

// What holds with links followed and not, with the kernel's help and without.
void check_escapes(const Tree& tree, bool follow_links) {
  for (Bytes path : kRegular) {
    test::context = std::string(path);
    OpenedFile opened = open_file(tree.request(std::string(path), follow_links));
    EXPECT(opened.error == 0 && opened.has_content && !content_of(opened).empty());
  }
  for (Bytes path : kEscapes) {
    test::context = std::string(path);
    OpenedFile opened = open_file(tree.request(std::string(path), follow_links));
    EXPECT(is_refusal(opened.error));
    EXPECT(!opened.file.is_open() && !opened.is_directory && opened.content.empty());
  }
  test::context.clear();
}

constexpr Bytes kLinksInside[] = {"inside", "folder-link/deep", "sub/back", "chain-inside"};

void check_links_inside(const Tree& tree, bool follow_links, bool found) {
  for (Bytes path : kLinksInside) {
    test::context = std::string(path);
    OpenedFile opened = open_file(tree.request(std::string(path), follow_links));
    EXPECT(found ? opened.error == 0 && opened.has_content : opened.error == ELOOP);
  }
  test::context.clear();
}

TEST("no path and no link leads out of the root") {
  Tree tree;
  check_escapes(tree, false);
  check_escapes(tree, true);
}

TEST("links that end inside the root are followed only when that is asked for") {
  Tree tree;
  check_links_inside(tree, false, false);
  if (!kernel_watches_paths()) return;
  check_links_inside(tree, true, true);
  EXPECT(open_file(tree.request("dangling", true)).error == ENOENT);
}

TEST("the walk opens what lies below and refuses every link and every way up") {
  Tree tree;
  for (Bytes path : kRegular) {
    test::context = std::string(path);
    Result<Fd> file = open_by_walk(tree.root.get(), path);
    struct stat found = {};
    EXPECT(file.is_ok() && ::fstat(file.value().get(), &found) == 0 && S_ISREG(found.st_mode));
  }
  for (Bytes path : kEscapes) {
    test::context = std::string(path);
    EXPECT(is_refusal(open_by_walk(tree.root.get(), path).status().error()));
  }
  for (Bytes path : kLinksInside) {
    test::context = std::string(path);
    EXPECT(open_by_walk(tree.root.get(), path).status().error() == ELOOP);
  }
  test::context.clear();
  for (Bytes path : {Bytes("nothing"), Bytes("sub/nothing"), Bytes("nothing/deep")})
    EXPECT(open_by_walk(tree.root.get(), path).status().error() == ENOENT);
  EXPECT(open_by_walk(tree.root.get(), "plain/deep").status().error() == ENOTDIR);
  EXPECT(open_by_walk(tree.root.get(), "plain/").status().error() == ENOTDIR);
  EXPECT(open_by_walk(tree.root.get(), Bytes("plain\0x", 7)).status().error() == ENOENT);
  for (Bytes path : {Bytes(""), Bytes("."), Bytes("sub/"), Bytes("sub")})
    EXPECT(open_by_walk(tree.root.get(), path).is_ok());
}

#if defined(__linux__)

// From here on openat2 answers `error` on this thread, as under an old kernel or a container's
// filter.
bool take_openat2_away(int error) {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(error)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog filter = {4, program};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

TEST("without the kernel's help paths are walked, and no link is followed") {
  for (int error : {ENOSYS, EPERM}) {
    std::thread restricted([&] {
      if (!take_openat2_away(error)) return;
      EXPECT(!kernel_watches_paths());
      Tree tree;
      check_escapes(tree, false);
      check_escapes(tree, true);
      check_links_inside(tree, true, false);
      EXPECT(open_file(tree.request("nothing")).error == ENOENT);
      EXPECT(open_file(tree.request("")).is_directory);
    });
    restricted.join();
  }
}

TEST("the links that /proc makes up lead nowhere") {
  Tree tree;
  Fd proc(::open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!proc.is_open()) return;
  std::string by_number = "fd/" + std::to_string(tree.root.get()) + "/plain";
  for (const std::string& path : {std::string("root/etc/passwd"), std::string("cwd"), by_number}) {
    test::context = path;
    for (bool follow_links : {false, true}) {
      OpenedFile opened =
          open_file({.root = proc.get(), .path = path, .follow_links = follow_links});
      EXPECT(is_refusal(opened.error));
    }
    EXPECT(is_refusal(open_by_walk(proc.get(), path).status().error()));
  }
  test::context.clear();
}

#endif

TEST("what is missing, and what is no folder on the way, says so") {
  Tree tree;
  EXPECT(open_file(tree.request("nothing")).error == ENOENT);
  EXPECT(open_file(tree.request("sub/nothing")).error == ENOENT);
  EXPECT(open_file(tree.request("plain/x")).error == ENOTDIR);
  EXPECT(open_file(tree.request("plain/")).error == ENOTDIR);
  EXPECT(open_file(tree.request(std::string(300, 'n'))).error == ENAMETOOLONG);
  EXPECT(open_file(tree.request(std::string("plain\0.png", 10))).error == ENOENT);
  OpenRequest anywhere = tree.request(std::string("plain\0.png", 10));
  anywhere.within_root = false;
  EXPECT(open_file(anywhere).error == ENOENT);
}

TEST("a folder is told from a file and is not left open") {
  Tree tree;
  for (const char* path : {"sub", "sub/", "", "."}) {
    test::context = path;
    OpenedFile opened = open_file(tree.request(path));
    EXPECT(opened.error == 0 && opened.is_directory && !opened.file.is_open());
    EXPECT(S_ISDIR(opened.mode) && !opened.has_content);
  }
  test::context.clear();
}

TEST("a FIFO, a socket and a device are refused and do not block") {
  Tree tree;
  EXPECT(::mkfifo(tree.outer.at("root/fifo").c_str(), 0644) == 0);
  EXPECT(open_file(tree.request("fifo")).error == EACCES);

  Fd socket(::socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::string path = tree.outer.at("root/socket");
  EXPECT(path.size() < sizeof(address.sun_path));
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  EXPECT(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
  int error = open_file(tree.request("socket")).error;
  EXPECT(error == EACCES || error == EOPNOTSUPP);  // the latter on macOS

  EXPECT(open_file({.root = AT_FDCWD, .path = "/dev/null", .within_root = false}).error == EACCES);
}

TEST("a file without the right to read it is EACCES") {
  if (::geteuid() == 0) return;  // who may read everything cannot see this
  Tree tree;
  EXPECT(::chmod(tree.outer.at("root/plain").c_str(), 0) == 0);
  EXPECT(open_file(tree.request("plain")).error == EACCES);
}

TEST("one file is opened by its own path, wherever it is; its last link only when asked for") {
  Tree tree;
  OpenRequest request = {.root = AT_FDCWD, .path = tree.outer.at("secret"), .within_root = false};
  OpenedFile opened = open_file(request);
  EXPECT(opened.error == 0 && opened.file.is_open() && opened.size == 6);
  request.path = tree.outer.at("root/up");
  EXPECT(open_file(request).error != 0);
  request.follow_links = true;
  EXPECT(open_file(request).error == 0);
  request = {.root = tree.root.get(), .path = "../secret", .within_root = false};
  EXPECT(open_file(request).error == 0);
}

TEST("an opened file tells what its validators are made of") {
  Tree tree;
  const timespec times[2] = {{1'000, 0}, {1'700'000'000, 123'456'000}};
  EXPECT(::utimensat(tree.root.get(), "plain", times, 0) == 0);
  struct stat found = {};
  EXPECT(::fstatat(tree.root.get(), "plain", &found, 0) == 0);
  OpenedFile opened = open_file({.root = tree.root.get(), .path = "plain"});
  EXPECT(opened.error == 0 && opened.size == 5 && opened.sibling == -1 && !opened.is_directory);
  EXPECT(opened.mtime_ns == 1'700'000'000'123'456'000);
  EXPECT(opened.inode == found.st_ino && opened.device == found.st_dev);
  EXPECT(opened.mode == found.st_mode);
  EXPECT((::fcntl(opened.file.get(), F_GETFD) & FD_CLOEXEC) != 0);
  EXPECT((::fcntl(opened.file.get(), F_GETFL) & O_ACCMODE) == O_RDONLY);
}

TEST("a file up to content_max is read at once, a larger one stays open") {
  Tree tree;
  OpenRequest request = tree.request("plain");
  for (size_t max : {size_t{0}, size_t{4}, size_t{5}, size_t{6}}) {
    request.content_max = max;
    OpenedFile opened = open_file(request);
    EXPECT(opened.error == 0 && opened.size == 5);
    EXPECT(opened.has_content == (max >= 5) && opened.file.is_open() == (max < 5));
    EXPECT(content_of(opened) == (max >= 5 ? "plain" : ""));
  }
  tree.outer.write("root/empty", "");
  request = tree.request("empty");
  OpenedFile empty = open_file(request);
  EXPECT(empty.error == 0 && empty.has_content && empty.size == 0);
  request.content_max = 0;
  EXPECT(open_file(request).file.is_open());
  std::string large(300'000, 'x');
  large[299'999] = 'y';
  tree.outer.write("root/large", large);
  request = {.root = tree.root.get(), .path = "large", .content_max = 1 << 20};
  EXPECT(content_of(open_file(request)) == large);
}

void set_time(const Tree& tree, const char* name, time_t seconds, long nanoseconds) {
  const timespec times[2] = {{seconds, nanoseconds}, {seconds, nanoseconds}};
  EXPECT(::utimensat(tree.root.get(), name, times, 0) == 0);
}

TEST("the best sibling is taken that is a file and not older than the plain one") {
  Tree tree;
  tree.outer.write("root/page.br", "brotli");
  tree.outer.write("root/page.gz", "gzip");
  tree.outer.write("root/page.zst", "zstd");
  OpenRequest request = tree.request("page");
  request.extensions = {".br", ".gz", ".zst"};
  EXPECT(open_file(request).error == ENOENT);  // siblings of nothing

  tree.outer.write("root/page", "plain page");
  for (const char* name : {"page", "page.br", "page.gz", "page.zst"})
    set_time(tree, name, 1'000, 500);
  OpenedFile opened = open_file(request);
  EXPECT(content_of(opened) == "brotli" && opened.sibling == 0 && opened.size == 6);
  request.extensions = {".zst", ".br"};
  opened = open_file(request);
  EXPECT(content_of(opened) == "zstd" && opened.sibling == 0);
  set_time(tree, "page.zst", 1'000, 499);
  opened = open_file(request);
  EXPECT(content_of(opened) == "brotli" && opened.sibling == 1);
  set_time(tree, "page.br", 999, 999'999'999);
  opened = open_file(request);
  EXPECT(content_of(opened) == "plain page" && opened.sibling == -1);
  request.extensions = {"", ".gz"};  // the plain one is liked better
  EXPECT(content_of(open_file(request)) == "plain page");
  request.extensions = {".none", ".gz"};
  opened = open_file(request);
  EXPECT(content_of(opened) == "gzip" && opened.sibling == 1);
  request.content_max = 0;
  opened = open_file(request);
  EXPECT(opened.file.is_open() && opened.size == 4 && opened.mtime_ns == 1'000'000'000'500);
}

TEST("a sibling is not taken when it is a folder, a FIFO or a link that may not be followed") {
  Tree tree;
  tree.outer.write("root/page", "plain page");
  set_time(tree, "page", 1'000, 0);
  EXPECT(::mkdirat(tree.root.get(), "page.br", 0755) == 0);
  EXPECT(::mkfifo(tree.outer.at("root/page.gz").c_str(), 0644) == 0);
  tree.link("../secret", "page.zst");
  OpenRequest request = tree.request("page");
  request.extensions = {".br", ".gz", ".zst"};
  for (bool follow_links : {false, true}) {
    request.follow_links = follow_links;
    EXPECT(content_of(open_file(request)) == "plain page");
  }
  request.path = "sub";  // a folder has no siblings
  tree.outer.write("root/sub.br", "not the folder");
  EXPECT(open_file(request).is_directory);
}

TEST("the work opens on a disk thread and brings the answer back") {
  Tree tree;
  Disk disk;
  Mailbox mailbox;
  for (const char* path : {"plain", "nothing"}) {
    auto work = std::make_unique<OpenFileWork>(tree.request(path));
    work->ticket = 9;
    disk.submit(std::move(work), mailbox.inbox);
    auto works = mailbox.wait();
    EXPECT(works.size() == 1 && works[0]->ticket == 9);
    auto& done = static_cast<OpenFileWork&>(*works[0]);
    EXPECT(done.opened.error == (done.request.path == "plain" ? 0 : ENOENT));
    EXPECT(content_of(done.opened) == (done.request.path == "plain" ? "plain" : ""));
  }
}

}  // namespace
}  // namespace millrace
