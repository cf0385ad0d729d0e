// One message for many: its frame, its references on several threads, its compressed form.
#include "core/model/shared_message.h"

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "test/harness.h"

namespace millrace {
namespace {

std::string head_of(uint8_t opcode, size_t size) {
  SharedMessageRef message(SharedMessage::make(opcode, std::string(size, 'x')));
  Bytes frame = message.get()->frame();
  EXPECT(frame.substr(frame.size() - size) == std::string(size, 'x'));
  EXPECT(message.get()->payload().data() == frame.data() + (frame.size() - size));
  EXPECT(message.get()->payload().size() == size);
  return std::string(frame.substr(0, frame.size() - size));
}

TEST("a shared message's frame has the shortest head for its length") {
  EXPECT(head_of(1, 0) == std::string("\x81\x00", 2));
  EXPECT(head_of(1, 1) == "\x81\x01");
  EXPECT(head_of(2, 125) == "\x82\x7d");
  EXPECT(head_of(2, 126) == std::string("\x82\x7e\x00\x7e", 4));
  EXPECT(head_of(1, 127) == std::string("\x81\x7e\x00\x7f", 4));
  EXPECT(head_of(1, 65535) == "\x81\x7e\xff\xff");
  EXPECT(head_of(2, 65536) == std::string("\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00", 10));
  EXPECT(head_of(2, 70001) == std::string("\x82\x7f\x00\x00\x00\x00\x00\x01\x11\x71", 10));
}

TEST("a shared message may be written after it was allocated") {
  char* room = nullptr;
  SharedMessageRef message(SharedMessage::allocate(2, 5, room));
  std::memcpy(room, "a\0b\0c", 5);
  EXPECT(message.get()->opcode() == 2);
  EXPECT(message.get()->payload() == Bytes("a\0b\0c", 5));
  EXPECT(message.get()->frame() == Bytes("\x82\x05"
                                         "a\0b\0c",
                                         7));
}

TEST("a shared message that no memory can hold is null") {
  char* room = nullptr;
  EXPECT(SharedMessage::allocate(1, SIZE_MAX, room) == nullptr);
  EXPECT(SharedMessage::allocate(1, SIZE_MAX - 8, room) == nullptr);
}

TEST("a shared message's compressed frame is empty until it is installed, and the first stays") {
  SharedMessageRef message(SharedMessage::make(1, "hello"));
  EXPECT(message.get()->compressed_frame().empty());
  std::string first = "first";
  message.get()->install_compressed(first);
  first = "gone!";
  Bytes before = message.get()->compressed_frame();
  EXPECT(before == "first");
  message.get()->install_compressed("second");
  EXPECT(message.get()->compressed_frame().data() == before.data());
  EXPECT(message.get()->compressed_frame() == "first");
  EXPECT(!message.get()->is_incompressible());
  message.get()->set_incompressible();
  EXPECT(message.get()->is_incompressible());
}

TEST("references to a shared message move, copy and swap without a loss") {
  SharedMessageRef none;
  EXPECT(none.get() == nullptr && none.copy().get() == nullptr);
  SharedMessageRef one(SharedMessage::make(1, "one"));
  SharedMessageRef copy = one.copy();
  SharedMessageRef moved = std::move(one);
  EXPECT(one.get() == nullptr && moved.get() == copy.get());
  moved = SharedMessageRef(SharedMessage::make(1, "two"));
  EXPECT(moved.get()->payload() == "two" && copy.get()->payload() == "one");
  SharedMessageRef adopted(copy.release());
  EXPECT(copy.get() == nullptr && adopted.get()->payload() == "one");
}

// Each thread compresses if nobody has, reads all, and drops its reference; the last one frees.
TEST("threads share a message, compress it at once, and the last one frees it") {
  constexpr int kThreads = 4;
  constexpr int kRounds = 2000;
  std::atomic<int> wrong{0};
  std::vector<SharedMessageRef> messages;
  for (int i = 0; i < kRounds; i++)
    messages.emplace_back(SharedMessage::make(1, "payload " + std::to_string(i)));
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; t++) {
    std::vector<SharedMessageRef> own;
    for (const SharedMessageRef& message : messages) own.push_back(message.copy());
    threads.emplace_back([&wrong, t, mine = std::move(own)]() mutable {
      for (int i = 0; i < kRounds; i++) {
        SharedMessageRef message = std::move(mine[static_cast<size_t>(i)]);
        if (message.get()->compressed_frame().empty())
          message.get()->install_compressed(std::string(100, static_cast<char>('a' + t)));
        Bytes frame = message.get()->compressed_frame();
        bool is_one = frame.size() == 100 && frame.front() == frame.back();
        bool is_whole = message.get()->payload() == "payload " + std::to_string(i);
        if (!is_one || !is_whole) wrong.fetch_add(1, std::memory_order_relaxed);
      }
    });
  }
  messages.clear();
  for (std::thread& thread : threads) thread.join();
  EXPECT(wrong.load() == 0);
}

}  // namespace
}  // namespace millrace
