// The page cache: what was read is warm, what was dropped is cold, and warming makes up for it.
#include "core/disk/warm_file.h"

#include "test/disk_rig.h"
#include "test/harness.h"

namespace millrace {
namespace {

using test::Mailbox;
using test::TempFolder;

constexpr size_t kSize = 4 << 20;

Fd warm(Disk& disk, Mailbox& mailbox, Fd file, uint64_t offset, size_t count) {
  disk.submit(std::make_unique<WarmFileWork>(std::move(file), offset, count), mailbox.inbox);
  auto works = mailbox.wait();
  return std::move(static_cast<WarmFileWork&>(*works[0]).file);
}

TEST("a file that was just written is warm, and so is nothing at all") {
  TempFolder folder;
  folder.write("file", std::string(kSize, 'x'));
  Fd file(::open(folder.at("file").c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT(is_warm(file.get(), 0, kSize));
  EXPECT(is_warm(file.get(), 0, 0) && is_warm(file.get(), kSize, 0));
  EXPECT(is_warm(file.get(), kSize + 10, 100));  // behind the end nobody waits
  EXPECT(is_warm(-1, 0, 1));                     // who reads it will learn
}

#if defined(__linux__)

// The kernel's own reading ahead would hide what the work does, and what it does not.
bool drop_from_cache(const Fd& file) {
  return ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_RANDOM) == 0 && ::fsync(file.get()) == 0 &&
         ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED) == 0 &&
         !is_warm(file.get(), 0, kSize);
}

TEST("a window that is cold is warm after the work") {
  constexpr uint64_t kFrom = 1 << 20;
  constexpr size_t kCount = 2 << 20;
  TempFolder folder;
  folder.write("file", std::string(kSize, 'x'));
  Fd file(::open(folder.at("file").c_str(), O_RDWR | O_CLOEXEC));
  if (!drop_from_cache(file)) return;  // some file systems live in memory, others cannot tell
  EXPECT(!is_warm(file.get(), kFrom, kCount));
  Disk disk;
  Mailbox mailbox;
  file = warm(disk, mailbox, std::move(file), kFrom, kCount);
  EXPECT(is_warm(file.get(), kFrom, kCount));
  for (uint64_t at = kFrom; at < kFrom + kCount; at += 4096) EXPECT(is_warm(file.get(), at, 1));
  EXPECT(!is_warm(file.get(), kFrom, kSize - kFrom));  // its last page is still cold
}

#endif

TEST("warming ends at the end of the file, and what cannot be read is left alone") {
  TempFolder folder;
  folder.write("file", "short");
  Fd file(::open(folder.at("file").c_str(), O_RDONLY | O_CLOEXEC));
  Disk disk;
  Mailbox mailbox;
  file = warm(disk, mailbox, std::move(file), 3, 1 << 20);
  EXPECT(file.is_open());
  file = warm(disk, mailbox, std::move(file), 100, 0);
  Fd unreadable(::open(folder.at("file").c_str(), O_WRONLY | O_CLOEXEC));
  unreadable = warm(disk, mailbox, std::move(unreadable), 0, 10);
  EXPECT(unreadable.is_open());
}

}  // namespace
}  // namespace millrace
