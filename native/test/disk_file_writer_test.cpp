// FileWriter: every byte once and in order, and a failure that is told and costs nothing else.
#include "core/disk/file_writer.h"

#include <sys/resource.h>

#include <cerrno>
#include <random>
#include <thread>

#include "test/disk_rig.h"
#include "test/harness.h"

#if defined(__linux__)
#include <sched.h>
#include <sys/mount.h>
#endif

namespace millrace {
namespace {

using test::Gate;
using test::Mailbox;
using test::TempFolder;

void route(Mailbox& mailbox, FileWriter& writer) {
  for (auto& work : mailbox.wait()) writer.on_done(std::move(work));
}

void finish(Mailbox& mailbox, FileWriter& writer) {
  writer.finish();
  while (!writer.is_done()) route(mailbox, writer);
}

std::string random_bytes(std::mt19937& random, size_t size) {
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

Sha256::Digest digest_of(Bytes bytes) {
  Sha256 sha256(&Sha256::compress_scalar);
  sha256.update(bytes);
  return sha256.finish();
}

TEST("many small and some large blobs arrive in order, with their number and digest") {
  TempFolder folder;
  Disk disk;
  Mailbox mailbox;
  std::mt19937 random(7);
  FileWriter writer(disk, mailbox.inbox, folder.create("out"), {.digest = true});
  std::string expected;
  for (int i = 0; i < 3000; i++) {
    size_t size = i % 500 == 250 ? 300'000 : random() % 3 * (random() % 900);
    std::string bytes = random_bytes(random, size);
    writer.append(Blob::copy(bytes));
    expected += bytes;
    EXPECT(writer.pending() + writer.written() == expected.size());
    if (!mailbox.inbox.is_empty()) route(mailbox, writer);
  }
  finish(mailbox, writer);
  EXPECT(writer.error() == 0 && writer.pending() == 0);
  EXPECT(writer.written() == expected.size());
  EXPECT(writer.digest() == digest_of(expected));
  EXPECT(folder.read("out") == expected);
}

TEST("a blob of more than one call, and one of exactly one call") {
  TempFolder folder;
  Disk disk;
  Mailbox mailbox;
  for (size_t size : {WriteWork::kBytesPerCall, 2 * WriteWork::kBytesPerCall + 4097}) {
    std::string expected = "head" + std::string(size, 'x') + "tail";
    for (size_t i = 4; i < expected.size(); i += 4096) expected[i] = static_cast<char>(i >> 12);
    FileWriter writer(disk, mailbox.inbox, folder.create("out"), {.digest = true});
    writer.append(Blob::copy(Bytes(expected).substr(0, 4)));
    writer.append(Blob::copy(Bytes(expected).substr(4, size)));
    writer.append(Blob::copy(Bytes(expected).substr(4 + size)));
    finish(mailbox, writer);
    EXPECT(writer.error() == 0 && writer.digest() == digest_of(expected));
    EXPECT(folder.read("out") == expected);
  }
}

TEST("what comes while work is away waits and goes out in gathered pieces") {
  constexpr size_t kBlobs = 2 * WriteWork::kBlobsMax + 3;
  TempFolder folder;
  Disk disk;
  Mailbox mailbox;
  FileWriter writer(disk, mailbox.inbox, folder.create("out"), {});
  std::string expected;
  {
    Gate gate(disk);
    for (size_t i = 0; i < kBlobs; i++) {
      std::string bytes = std::to_string(i) + ",";
      writer.append(Blob::copy(bytes));
      expected += bytes;
    }
    EXPECT(writer.pending() == expected.size() && writer.written() == 0);
    gate.open();
  }
  writer.finish();
  int trips = 0;
  for (; !writer.is_done(); trips++) route(mailbox, writer);
  EXPECT(trips == 4);  // the first blob alone, 64, 64, and what is left
  EXPECT(folder.read("out") == expected);
}

TEST("a writer begins where it is told and leaves the rest of the file alone") {
  TempFolder folder;
  folder.write("out", "0123456789");
  Disk disk;
  Mailbox mailbox;
  Fd file(::open(folder.at("out").c_str(), O_WRONLY | O_CLOEXEC));
  FileWriter writer(disk, mailbox.inbox, std::move(file), {.offset = 3, .durable = true});
  writer.append(Blob::copy("ab"));
  writer.append(Blob());
  writer.append(Blob::copy("c"));
  finish(mailbox, writer);
  EXPECT(writer.error() == 0 && writer.written() == 3);
  EXPECT(folder.read("out") == "012abc6789");
}

TEST("a writer without a byte ends with an empty file and the digest of nothing") {
  TempFolder folder;
  Disk disk;
  Mailbox mailbox;
  Fd file = folder.create("out");
  int number = file.get();
  FileWriter writer(disk, mailbox.inbox, std::move(file), {.ticket = 77, .digest = true});
  writer.finish();
  EXPECT(!writer.is_done());
  auto works = mailbox.wait();
  EXPECT(works.size() == 1 && works[0]->ticket == 77);
  writer.on_done(std::move(works[0]));
  EXPECT(writer.is_done() && writer.error() == 0 && writer.digest() == digest_of(""));
  EXPECT(::fcntl(number, F_GETFD) == -1);  // closed before it is reported
}

TEST("a file that may not be written fails the writer, and what comes later is dropped at once") {
  TempFolder folder;
  folder.write("out", "old");
  Disk disk;
  Mailbox mailbox;
  Fd file(::open(folder.at("out").c_str(), O_RDONLY | O_CLOEXEC));
  int number = file.get();
  FileWriter writer(disk, mailbox.inbox, std::move(file), {.digest = true});
  {
    Gate gate(disk);
    writer.append(Blob::copy("new"));
    writer.append(Blob::copy("newer"));  // waits, and is dropped with the failure
    gate.open();
  }
  auto works = mailbox.wait();
  EXPECT(::fcntl(number, F_GETFD) == -1);  // closed where waiting harms nobody
  writer.on_done(std::move(works[0]));
  EXPECT(writer.is_done() && writer.error() == EBADF);  // without finish()
  EXPECT(writer.pending() == 0 && writer.written() == 0);
  writer.append(Blob::copy("newest"));
  writer.finish();
  EXPECT(writer.pending() == 0 && mailbox.inbox.is_empty());
  EXPECT(folder.read("out") == "old");
}

// Appends until the writer fails; at most `tries` times.
void append_until_done(Mailbox& mailbox, FileWriter& writer, size_t size, int tries) {
  for (int i = 0; i < tries && !writer.is_done(); i++) {
    writer.append(Blob::copy(std::string(size, 'x')));
    route(mailbox, writer);
  }
}

// Without a handler or a mask SIGXFSZ would end the process.
TEST("a file that gets too large is EFBIG, after the bytes that had room") {
  constexpr rlim_t kLimit = 1 << 20;
  TempFolder folder;
  Disk disk;
  Mailbox mailbox;
  rlimit before;
  EXPECT(::getrlimit(RLIMIT_FSIZE, &before) == 0);
  rlimit low = {kLimit, before.rlim_max};
  EXPECT(::setrlimit(RLIMIT_FSIZE, &low) == 0);
  FileWriter writer(disk, mailbox.inbox, folder.create("out"), {});
  append_until_done(mailbox, writer, 300'000, 10);
  EXPECT(::setrlimit(RLIMIT_FSIZE, &before) == 0);
  EXPECT(writer.error() == EFBIG && writer.written() == kLimit && writer.pending() == 0);

  FileWriter next(disk, mailbox.inbox, folder.create("next"), {});
  next.append(Blob::copy("fits"));
  finish(mailbox, next);
  EXPECT(next.error() == 0 && folder.read("next") == "fits");
}

#if defined(__linux__)

// A file on a file system of one megabyte that only this descriptor keeps alive; not open where the
// test may not make one. In a mount namespace of a thread's own, which ends with the thread.
Fd create_on_small_disk(const TempFolder& folder) {
  Fd file;
  std::thread mounting([&] {
    if (::unshare(CLONE_NEWNS) != 0) return;
    if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return;
    if (::mount("none", folder.path.c_str(), "tmpfs", 0, "size=1m") != 0) return;
    file = Fd(::open(folder.at("out").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  });
  mounting.join();
  return file;
}

TEST("a full disk is ENOSPC, after the bytes that had room") {
  TempFolder folder;
  Fd file = create_on_small_disk(folder);
  if (!file.is_open()) return;
  Disk disk;
  Mailbox mailbox;
  FileWriter writer(disk, mailbox.inbox, std::move(file), {.durable = true});
  append_until_done(mailbox, writer, 300'000, 10);
  EXPECT(writer.error() == ENOSPC && writer.written() == 1 << 20 && writer.pending() == 0);
}

#endif

TEST("a writer may go while its work is away, which still writes and then closes the file") {
  TempFolder folder;
  Disk disk;
  Mailbox mailbox;
  Fd file = folder.create("out");
  int number = file.get();
  {
    Gate gate(disk);
    {
      FileWriter writer(disk, mailbox.inbox, std::move(file), {.ticket = 5});
      writer.append(Blob::copy("on its way"));
      writer.append(Blob::copy(", not sent"));
    }
    gate.open();
  }
  auto works = mailbox.wait();
  EXPECT(works.size() == 1 && works[0]->ticket == 5);
  EXPECT(folder.read("out") == "on its way");
  EXPECT(::fcntl(number, F_GETFD) >= 0);
  disk.discard(std::move(works[0]));
  while (::fcntl(number, F_GETFD) != -1) std::this_thread::yield();
}

TEST("a writer that goes with nothing away closes its file on a disk thread") {
  TempFolder folder;
  Disk disk;
  Mailbox mailbox;
  Gate gate(disk);
  Fd file = folder.create("out");
  int number = file.get();
  { FileWriter writer(disk, mailbox.inbox, std::move(file), {}); }
  EXPECT(::fcntl(number, F_GETFD) >= 0);
  gate.open();
  while (::fcntl(number, F_GETFD) != -1) std::this_thread::yield();
  EXPECT(mailbox.inbox.is_empty());
}

TEST("a writer whose work the end of the disk dropped can still be destroyed") {
  TempFolder folder;
  Disk disk;
  Mailbox mailbox;
  FileWriter writer(disk, mailbox.inbox, folder.create("out"), {});
  disk.stop();
  writer.append(Blob::copy("lost"));
  writer.append(Blob::copy("too"));
  writer.finish();
  EXPECT(!writer.is_done() && writer.pending() == 7);
}

TEST("several writers on one disk do not mix") {
  constexpr size_t kWriters = 12;
  TempFolder folder;
  Disk disk;
  Mailbox mailbox;
  std::vector<std::unique_ptr<FileWriter>> writers;
  std::vector<std::string> expected(kWriters);
  for (size_t i = 0; i < kWriters; i++)
    writers.push_back(std::make_unique<FileWriter>(disk, mailbox.inbox,
                                                   folder.create(std::to_string(i)),
                                                   FileWriterOptions{.ticket = i, .digest = true}));
  for (int round = 0; round < 100; round++) {
    for (size_t i = 0; i < kWriters; i++) {
      std::string bytes(1 + (i * 37 + static_cast<size_t>(round) * 101) % 2000,
                        static_cast<char>('a' + i));
      bytes[0] = static_cast<char>(round);
      writers[i]->append(Blob::copy(bytes));
      expected[i] += bytes;
    }
  }
  for (auto& writer : writers) writer->finish();
  for (size_t done = 0; done < kWriters;) {
    for (auto& work : mailbox.wait()) {
      FileWriter& writer = *writers[work->ticket];
      writer.on_done(std::move(work));
      if (writer.is_done()) done++;
    }
  }
  for (size_t i = 0; i < kWriters; i++) {
    EXPECT(writers[i]->error() == 0 && writers[i]->digest() == digest_of(expected[i]));
    EXPECT(folder.read(std::to_string(i)) == expected[i]);
  }
}

}  // namespace
}  // namespace millrace
