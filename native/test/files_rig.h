// What tests of file answers share: a folder of files of known content and age, a loop whose disk
// works only when it is told to, and the commands of a handler that sends a file.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/disk/warm_file.h"
#include "test/loop_rig.h"
#include "test/temp_file.h"
#include "test/temp_folder.h"

namespace millrace::test {

// Before the day with which sim begins: what is made of it is a strong validator.
constexpr time_t kOldFile = 784'000'000;
constexpr size_t kSmallFile = 40;
constexpr size_t kLargeFile = 100'000;  // more than what comes with the news of a file

// Eight bytes that no other place has.
inline std::string numbered(size_t size) {
  std::string text;
  for (size_t block = 0; text.size() < size; block++) {
    std::string number = std::to_string(block);
    text += std::string(7 - number.size(), '0') + number + ";";
  }
  text.resize(size);
  return text;
}

inline void set_age(const TempFolder& folder, const std::string& name, time_t at) {
  const timespec times[2] = {{at, 0}, {at, 0}};
  EXPECT(::utimensat(folder.fd.get(), name.c_str(), times, 0) == 0);
}

// "small" and "large" are numbered, "empty" is empty.
class ServedFolder final {
 public:
  ServedFolder() {
    add("small.txt", numbered(kSmallFile));
    add("large.bin", numbered(kLargeFile));
    add("empty.txt", "");
  }
  void add(const std::string& name, const std::string& content, time_t at = kOldFile) const {
    folder.write(name, content);
    set_age(folder, name, at);
  }
  [[nodiscard]] std::vector<RouteRow> routes() const {
    RouteRow row{"GET", "/f/**", {}};
    row.route.kind = RouteKind::File;
    row.route.file = FileSource{};
    row.route.file->path = folder.path;
    row.route.file->index = "small.txt";
    row.route.file->is_folder = true;
    row.route.headers = "X-Route: f\r\n";
    RouteRow plain{"GET", "/plain", {}};
    plain.route.kind = RouteKind::File;
    plain.route.file = FileSource{};
    plain.route.file->path = folder.at("large.bin");
    plain.route.file->type = "a/b";
    plain.route.file->precompressed = false;
    return {std::move(row), std::move(plain)};
  }

  TempFolder folder;
};

// What a handler asks for with res.file().
struct FileWish {
  std::string path = "";  // absolute
  std::string range = "";
  std::string if_match = "";
  std::string if_none_match = "";
  std::string if_range = "";
  std::string accept_encoding = "";
  std::string lines = "";  // header lines
  uint16_t status = 200;
  uint16_t flags = 0;
  bool is_head = false;
};

inline bool put_file(Lane& lane, ExchangeId id, const FileWish& wish) {
  Command command;
  command.kind = static_cast<uint16_t>(CommandKind::SendFile);
  command.exchange = id;
  command.status = wish.status;
  command.flags = wish.flags;
  std::string text = std::string(wish.accept_encoding.empty() ? "0" : "1") + "01";
  text += wish.is_head ? '1' : '0';
  const std::string fields[] = {wish.path,          "", "", wish.accept_encoding, wish.if_match,
                                wish.if_none_match, "", "", wish.if_range,        wish.range};
  for (const std::string& field : fields) text.append(1, '\0').append(field);
  return put_command(lane, command, wish.lines, text.append(1, '\0'));
}

// Expects at its end that no descriptor is left that was not there at its beginning.
class FilesRig final {
 public:
  explicit FilesRig(const Limits& limits = {}, const SimFaults& faults = {}) {
    RigFiles files{served_.routes()};
    rig_ = std::make_unique<Rig>(limits, faults, Observation{}, &files);
  }
  FilesRig(const FilesRig&) = delete;
  FilesRig& operator=(const FilesRig&) = delete;
  ~FilesRig() {
    rig_.reset();
    EXPECT(open_files() == 0);
  }

  Rig* operator->() { return rig_.get(); }
  [[nodiscard]] const ServedFolder& served() const { return served_; }
  [[nodiscard]] const TempFolder& folder() const { return served_.folder; }
  [[nodiscard]] int open_files() const { return open_descriptors(kLooked) - descriptors_; }
  [[nodiscard]] int64_t queued() const { return rig_->stats().files.get(); }
  [[nodiscard]] std::string at(const std::string& name) const { return folder().at(name); }

  SimPeer connect() { return rig_->connect(); }
  // One that takes no more than `window` bytes.
  SimPeer connect_slow(uint64_t window) {
    SimPeer peer = rig_->connect();
    rig_->sim().limit_window(peer, window);
    return peer;
  }
  // All that the disk has to do, and what comes of it. How much that was.
  size_t run_disk() {
    size_t count = 0;
    for (; rig_->disk().run_one(); rig_->turn()) count++;
    return count;
  }
  // Turns until nothing more comes.
  std::string read_all(SimPeer peer) {
    std::string got = rig_->sim().read(peer);
    for (int quiet = 0; quiet < 2; quiet++) {
      rig_->turn(1);
      if (run_disk() > 0) quiet = 0;
      std::string more = rig_->sim().read(peer);
      if (!more.empty()) quiet = 0;
      got += more;
    }
    return got;
  }
  std::string ask(SimPeer peer, const std::string& bytes) {
    rig_->send(peer, bytes);
    return read_all(peer);
  }
  std::string ask(const std::string& bytes) { return ask(connect(), bytes); }
  // A handler's exchange, and what it sends.
  ExchangeId handled(SimPeer peer, const std::string& bytes) {
    rig_->send(peer, bytes);
    return rig_->take_one().id;
  }
  void send_file(ExchangeId id, const FileWish& wish) {
    EXPECT(put_file(rig_->lane(), id, wish));
    rig_->turn();
  }

 private:
  static constexpr int kLooked = 256;

  const int before_ = open_descriptors(kLooked);
  ServedFolder served_;
  const int descriptors_ = before_ + 1;  // the folder's own
  std::unique_ptr<Rig> rig_;
};

#if defined(__linux__)

// False where the file system lives in memory, or cannot tell.
inline bool drop_from_cache(const FilesRig& rig, const std::string& name) {
  Fd file(::open(rig.at(name).c_str(), O_RDONLY | O_CLOEXEC));
  return ::fsync(file.get()) == 0 && ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED) == 0 &&
         !is_warm(file.get(), 0, kLargeFile);
}

#endif

inline std::string request(const std::string& method, const std::string& target,
                           const std::string& lines = "") {
  return method + " " + target + " HTTP/1.1\r\nHost: a\r\n" + lines + "\r\n";
}

// The value of a header field of the first head in a text; "" without one.
inline std::string field_of(const std::string& text, const std::string& name) {
  std::string head = text.substr(0, text.find("\r\n\r\n") + 2);
  size_t at = head.find("\r\n" + name + ": ");
  if (at == std::string::npos) return "";
  at += name.size() + 4;
  return head.substr(at, head.find("\r\n", at) - at);
}

// Boundaries are made from the number of the search: here all are the same one.
inline std::string same_boundary(std::string text) {
  size_t at = text.find("boundary=");
  if (at == std::string::npos) return text;
  const std::string boundary = text.substr(at + 9, 32);
  while ((at = text.find(boundary)) != std::string::npos) text.replace(at, 32, 32, 'B');
  return text;
}

inline std::string body_of(const std::string& text) {
  size_t end = text.find("\r\n\r\n");
  return end == std::string::npos ? "" : text.substr(end + 4);
}

}  // namespace millrace::test
