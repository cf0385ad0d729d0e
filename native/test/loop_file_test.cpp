// Files in a connection's write queue, over sim: order, shares of a turn, deadlines and every way
// to end. The session is one of lines: what a line says is written.
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "test/loop_rig.h"
#include "test/poll_rig.h"
#include "test/temp_file.h"

namespace millrace::test {
namespace {

constexpr ListenerId kLines = 1;
constexpr uint64_t kTurnMax = uint64_t{4} << 20;

int source = -1;  // what the sessions send
size_t flushes = 0;
size_t buffered_behind_files = 0;

// "t<text>" writes the text, "f<offset> <size>" bytes of the source, "e" ends.
class LineSession final : public Session {
 public:
  size_t receive(MutableBytes unread, Sink& sink) override {
    Bytes rest(unread.data(), unread.size());
    for (size_t end = rest.find('\n'); end != Bytes::npos; end = rest.find('\n')) {
      obey(std::string(rest.substr(0, end)), sink);
      rest.remove_prefix(end + 1);
    }
    return unread.size() - rest.size();
  }
  void command(const Command&, Sink&) override {}
  void peer_closed(Sink& sink) override { sink.finish(CloseCause::ClosedByClient); }
  void deadline(Sink&) override {}
  void flushed(Sink& sink) override {
    EXPECT(sink.files_queued() == 0);
    EXPECT(sink.buffered() == 0);
    flushes++;
  }
  void drain(Sink& sink) override { sink.finish(CloseCause::Drained); }
  bool disk_done(std::unique_ptr<DiskWork>&, Sink&) override { return false; }
  void gone(Sink& sink) override {
    // Not queued, and not leaked.
    sink.write_file(Fd(::dup(source)), 0, 1);
  }

 private:
  static void obey(const std::string& line, Sink& sink) {
    if (line[0] == 't') return sink.write(Bytes(line).substr(1));
    if (line[0] == 'e') return sink.finish(CloseCause::ClosedByClient);
    char* end = nullptr;
    uint64_t offset = std::strtoull(line.c_str() + 1, &end, 10);
    uint64_t size = std::strtoull(end, nullptr, 10);
    size_t before = sink.buffered();
    size_t files = sink.files_queued();
    sink.write_file(Fd(::dup(source)), offset, size);
    EXPECT(sink.files_queued() == files + (size > 0 ? 1 : 0));
    buffered_behind_files += sink.buffered() - before;
  }
};

std::unique_ptr<Session> make_lines() { return std::make_unique<LineSession>(); }

// Counts descriptors from before its source is opened until the rig has ended.
class FileRig final {
 public:
  explicit FileRig(Fd file, const Limits& limits = {}, const SimFaults& faults = {})
      : descriptors_(open_descriptors() - 1), file_(std::move(file)) {
    source = file_.get();
    flushes = 0;
    buffered_behind_files = 0;
    rig_ = std::make_unique<Rig>(limits, faults);
    EXPECT(rig_->loop().listen(kLines, Fd(), &make_lines).is_ok());
  }
  FileRig(const FileRig&) = delete;
  FileRig& operator=(const FileRig&) = delete;
  ~FileRig() {
    rig_.reset();
    EXPECT(buffered_behind_files == 0);
    source = -1;
    file_.reset();
    EXPECT(open_descriptors() == descriptors_);
  }

  Rig& operator*() { return *rig_; }
  Rig* operator->() { return rig_.get(); }
  [[nodiscard]] const Fd& file() const { return file_; }
  [[nodiscard]] int64_t files() const { return rig_->stats().files.get(); }
  SimPeer connect() {
    SimPeer peer = rig_->sim().connect(kLines);
    rig_->turn();
    return peer;
  }
  SimPeer stalled(const std::string& lines) {
    SimPeer peer = connect();
    rig_->sim().limit_window(peer, 1000);
    rig_->send(peer, lines);
    EXPECT(rig_->sim().read(peer).size() == 1000);
    return peer;
  }
  // Turns until nothing more comes, as a loop that sleeps only when it may.
  std::string read_all(SimPeer peer) {
    std::string got = rig_->sim().read(peer);
    for (int quiet = 0; quiet < 3; quiet++) {
      rig_->turn();
      std::string more = rig_->sim().read(peer);
      if (!more.empty()) quiet = 0;
      got += more;
    }
    return got;
  }

 private:
  int descriptors_;
  Fd file_;
  std::unique_ptr<Rig> rig_;
};

std::string file_line(uint64_t offset, uint64_t size) {
  return "f" + std::to_string(offset) + " " + std::to_string(size) + "\n";
}

// --- order and shares ---

TEST("bytes and files leave in the order in which they were written") {
  std::string text = letters((size_t{5} << 20) + 33);
  FileRig rig(file_of(text));
  SimPeer peer = rig.connect();
  rig->send(peer, "thead;\n" + file_line(0, text.size()) + "tmiddle;\n" + file_line(3, 0) +
                      file_line(7, 5) + file_line(1, 1) + "ttail\ntnext answer\n");
  std::string expected =
      "head;" + text + "middle;" + text.substr(7, 5) + text.substr(1, 1) + "tailnext answer";
  std::string got = rig.read_all(peer);
  EXPECT(got == expected);
  EXPECT(flushes == 1);
  EXPECT(rig.files() == 0);
  EXPECT(static_cast<size_t>(rig->stats().bytes_out.get()) == expected.size());
  rig->send(peer, "tagain\n");
  EXPECT(rig->sim().read(peer) == "again");
}

TEST("the order holds whatever part of a send the kernel takes") {
  std::string text = letters(3'000'000);
  for (uint64_t seed = 1; seed <= 8; seed++) {
    FileRig rig(file_of(text), {}, {.seed = seed, .short_write = 700});
    SimPeer peer = rig.connect();
    rig->send(peer, "thead;\n" + file_line(5, 2'500'000) + "tmiddle;\n" + file_line(7, 5));
    rig->send(peer, file_line(9, 1'100'000) + "ttail\n");
    std::string got;
    for (int i = 0; i < 2000 && rig->stats().connections.get() == 1 && rig.files() > 0; i++) {
      rig->turn();
      got += rig->sim().read(peer);
    }
    rig->turn(50);
    got += rig->sim().read(peer);
    EXPECT(got == "head;" + text.substr(5, 2'500'000) + "middle;" + text.substr(7, 5) +
                      text.substr(9, 1'100'000) + "tail");
    EXPECT(static_cast<size_t>(rig->stats().bytes_out.get()) == got.size());
  }
}

TEST("what is written behind a file that is being sent waits for it") {
  FileRig rig(file_of(letters(5000)));
  SimPeer peer = rig.stalled("thead;\n" + file_line(0, 5000));
  EXPECT(rig.files() == 1);
  rig->send(peer, "tone,\n");
  rig->send(peer, "ttwo\n");
  EXPECT(rig->sim().read(peer).empty());
  EXPECT(flushes == 0);
  rig->sim().limit_window(peer, UINT64_MAX);
  EXPECT(rig.read_all(peer) == letters(5000).substr(995) + "one,two");
  EXPECT(flushes == 1);
  EXPECT(rig.files() == 0);
}

TEST("a fast reader of a long file gets its share of a turn, and others theirs before it") {
  FileRig rig(sparse_file(size_t{64} << 20));
  SimPeer greedy = rig.connect();
  SimPeer second = rig.connect();
  SimPeer modest = rig.connect();
  rig->sim().write(greedy, file_line(0, uint64_t{64} << 20));
  rig->sim().write(second, file_line(0, uint64_t{64} << 20));
  rig->sim().write(modest, "tsmall\n");
  uint64_t got = 0;
  uint64_t got_second = 0;
  int turns = 0;
  rig->poll(0);
  for (; turns < 100 && (got < uint64_t{64} << 20 || rig.files() > 0); turns++) {
    bool unfinished = rig->work() == 0;
    uint64_t share = rig->sim().read(greedy).size();
    EXPECT(share <= kTurnMax);
    got += share;
    got_second += rig->sim().read(second).size();
    if (turns == 0) EXPECT(rig->sim().read(modest) == "small");
    // Asked while the files are under way, answered in the same turn.
    if (turns == 3) rig->sim().write(modest, "tlater\n");
    if (turns == 4) EXPECT(rig->sim().read(modest) == "later");
    EXPECT(unfinished == (rig.files() > 0));
    rig->poll(0);
  }
  EXPECT(got == uint64_t{64} << 20);
  EXPECT(got_second == uint64_t{64} << 20);
  EXPECT(turns >= 16 && turns <= 18);
  EXPECT(rig->work() != 0);
  EXPECT(flushes == 3 + 1);
}

TEST("a reader that was slow for a while gets no more than a share in one turn either") {
  FileRig rig(sparse_file(size_t{20} << 20));
  SimPeer peer = rig.stalled(file_line(0, uint64_t{20} << 20));
  rig->sim().limit_window(peer, UINT64_MAX);
  uint64_t got = 1000;
  for (int i = 0; i < 30 && rig.files() > 0; i++) {
    rig->poll(0);
    static_cast<void>(rig->work());
    // The rest of a pending piece, a share after it, and one of the turn's own.
    uint64_t share = rig->sim().read(peer).size();
    EXPECT(share <= 2 * kTurnMax + (uint64_t{1} << 20));
    got += share;
  }
  EXPECT(got == uint64_t{20} << 20);
}

// --- deadlines ---

TEST("a peer that stops reading a file is reset by the write timeout, any byte starts it anew") {
  Limits limits;
  limits.write_timeout = 30'000;
  FileRig rig(file_of(letters(100'000)), limits);
  SimPeer peer = rig.stalled("thead;\n" + file_line(0, 100'000) + "ttail\n");
  rig->pass(29'900);
  EXPECT(!rig->sim().saw_close(peer));
  rig->sim().limit_window(peer, 1);
  rig->turn();
  rig->pass(29'900);
  EXPECT(!rig->sim().saw_close(peer));
  EXPECT(rig.files() == 1);
  rig->pass(150);
  EXPECT(rig->sim().saw_reset(peer));
  EXPECT(rig->stats().write_timeouts.get() == 1);
  EXPECT(rig->stats().connections.get() == 0);
  EXPECT(rig.files() == 0);
}

TEST("no write timeout is left behind when the file has gone") {
  Limits limits;
  limits.write_timeout = 30'000;
  FileRig rig(file_of(letters(100'000)), limits);
  SimPeer peer = rig.stalled(file_line(0, 100'000));
  EXPECT(rig->stats().deadlines.get() == 1);
  rig->sim().limit_window(peer, UINT64_MAX);
  EXPECT(rig.read_all(peer).size() == 99'000);
  EXPECT(rig->stats().deadlines.get() == 0);
  rig->pass(100'000);
  EXPECT(!rig->sim().saw_close(peer));
}

// --- endings ---

TEST("a peer's reset in the middle of a file closes it and what is queued behind it") {
  FileRig rig(file_of(letters(100'000)));
  SimPeer peer = rig.stalled("thead;\n" + file_line(0, 100'000) + "t,\n" + file_line(0, 100'000));
  EXPECT(rig.files() == 2);
  rig->sim().reset(peer);
  rig->turn();
  EXPECT(rig.files() == 0);
  EXPECT(rig->stats().connections.get() == 0);
  EXPECT(flushes == 0);
}

TEST(
    "a file that becomes shorter breaks the connection by a reset, which no peer takes for an "
    "end") {
  FileRig rig(file_of(letters(100'000)));
  SimPeer peer = rig.stalled(file_line(0, 100'000) + "ttail\n");
  EXPECT(::ftruncate(rig.file().get(), 50'000) == 0);
  rig->sim().limit_window(peer, UINT64_MAX);
  std::string got = rig.read_all(peer);
  EXPECT(got == letters(100'000).substr(1000, 49'000));
  EXPECT(rig->sim().saw_reset(peer));
  EXPECT(rig.files() == 0);
  EXPECT(flushes == 0);
}

TEST("a file that is shorter than it was said to be breaks the connection at once") {
  FileRig rig(file_of("short"));
  SimPeer peer = rig.connect();
  rig->send(peer, "thead;\n" + file_line(0, 6) + "ttail\n");
  EXPECT(rig->sim().read(peer) == "head;short");
  EXPECT(rig->sim().saw_reset(peer));
  EXPECT(rig->stats().connections.get() == 0);
}

TEST("who is finished sends its files to the end, then half-closes") {
  std::string text = letters((size_t{6} << 20) + 5);
  FileRig rig(file_of(text));
  SimPeer peer = rig.connect();
  rig->send(peer, "tlast:\n" + file_line(0, text.size()) + "e\n");
  EXPECT(rig.read_all(peer) == "last:" + text);
  EXPECT(rig->sim().saw_half_close(peer));
  EXPECT(!rig->sim().saw_reset(peer));
  rig->pass(5000);
  EXPECT(rig->stats().connections.get() == 0);
}

TEST("closing the server waits for a file, and cuts it at its deadline") {
  FileRig rig(file_of(letters(100'000)));
  SimPeer taking = rig.stalled(file_line(0, 100'000));
  SimPeer stuck = rig.stalled(file_line(0, 100'000));
  rig->control(CommandKind::Close, 5000);
  EXPECT(rig.files() == 2);
  rig->sim().limit_window(taking, UINT64_MAX);
  EXPECT(rig.read_all(taking).size() == 99'000);
  EXPECT(rig.files() == 1);
  rig->pass(5100);
  EXPECT(rig->sim().saw_reset(stuck));
  EXPECT(!rig->sim().saw_reset(taking));
  EXPECT(rig.files() == 0);
}

TEST("a loop that ends in the middle of files closes them") {
  int before = open_descriptors();
  {
    Fd file = file_of(letters(100'000));
    source = file.get();
    Limits limits;
    Router router;
    add_routes(router);
    auto sim = std::make_unique<Sim>();
    Sim& world = *sim;
    Disk disk;
    Loop loop(std::move(sim), limits, router, disk, 1);
    EXPECT(loop.listen(kLines, Fd(), &make_lines).is_ok());
    SimPeer peer = world.connect(kLines);
    world.limit_window(peer, 1000);
    world.write(peer, "thead;\n" + file_line(0, 100'000) + file_line(0, 100'000));
    RoleScope role(loop_thread);
    for (int i = 0; i < 4; i++) loop.poll(loop.work());
    EXPECT(loop.stats_view().files.get() == 2);
    source = -1;
  }
  EXPECT(open_descriptors() == before);
}

// --- a small storm ---

// Peers whose windows open and shut, that leave and stall, under faults.
struct LinePeer {
  SimPeer peer = 0;
  std::string expected = {};
  std::string got = {};
  bool gone = false;
};

class LineStorm final {
 public:
  LineStorm(uint64_t seed, const std::string& text)
      : random_(seed * 7919 + 1),
        text_(text),
        rig_(file_of(text), limits(),
             {.seed = seed,
              .short_read = 200,
              .short_write = 300,
              .reset = static_cast<uint32_t>(seed % 3)}) {}

  void run() {
    for (int turn = 0; turn < 300; turn++) {
      if (peers_.size() < 20 && below(4) == 0) peers_.push_back({rig_.connect()});
      for (LinePeer& one : peers_) act(one);
      if (below(20) == 0) rig_->sim().advance(below(4000));
      rig_->poll(rig_->work() == 0 ? 0 : 1);
      check();
    }
    for (LinePeer& one : peers_) rig_->sim().limit_window(one.peer, UINT64_MAX);
    for (int i = 0; i < 400; i++) {
      rig_->turn();
      check();
    }
    for (LinePeer& one : peers_) {
      EXPECT(one.gone || rig_->sim().saw_close(one.peer) || one.got == one.expected);
      whole_ += one.got == one.expected ? 1 : 0;
    }
    EXPECT(rig_.files() == 0);
  }
  [[nodiscard]] size_t whole() const { return whole_; }

 private:
  static Limits limits() {
    Limits limits;
    limits.write_timeout = 10'000;
    return limits;
  }
  uint32_t below(uint32_t bound) {
    random_ = random_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>(random_ >> 33) % bound;
  }
  void act(LinePeer& one) {
    uint32_t what = below(100);
    if (what < 25) return say(one);
    if (what < 45) return rig_->sim().limit_window(one.peer, below(3) == 0 ? 0 : below(400'000));
    if (what < 55) return rig_->sim().limit_window(one.peer, UINT64_MAX);
    if (what > 1 && what < 98) return;
    if (below(4) != 0) return;
    one.gone = true;
    if (what == 98) return rig_->sim().reset(one.peer);
    rig_->sim().close(one.peer);
  }
  void say(LinePeer& one) {
    if (one.gone || one.expected.size() > 6'000'000) return;
    if (below(3) == 0) {
      std::string word = "word" + std::to_string(below(1000)) + ";";
      rig_->sim().write(one.peer, "t" + word + "\n");
      one.expected += word;
      return;
    }
    size_t offset = below(1000);
    size_t size = below(6) == 0 ? below(1'500'000) : below(3000);
    rig_->sim().write(one.peer, file_line(offset, size));
    one.expected += text_.substr(offset, size);
  }
  void check() {
    int64_t files = rig_.files();
    EXPECT(files >= 0);
    const SimTotals& totals = rig_->sim().totals();
    auto out = static_cast<uint64_t>(rig_->stats().bytes_out.get());
    EXPECT(out + totals.bytes_unfinished == totals.bytes_sent);
    for (LinePeer& one : peers_) {
      std::string more = rig_->sim().read(one.peer);
      EXPECT(one.expected.compare(one.got.size(), more.size(), more) == 0);
      one.got += more;
    }
  }

  uint64_t random_;
  const std::string& text_;
  FileRig rig_;
  std::vector<LinePeer> peers_;
  size_t whole_ = 0;
};

TEST("in a storm of files every peer gets the bytes it was promised, in order, or a broken end") {
  std::string text = letters(1'600'000);
  size_t whole = 0;
  for (uint64_t seed = 1; seed <= 12; seed++) {
    context = "seed " + std::to_string(seed);
    LineStorm storm(seed, text);
    storm.run();
    whole += storm.whole();
  }
  EXPECT(whole >= 100);
}

}  // namespace
}  // namespace millrace::test
