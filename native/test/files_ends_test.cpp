// File answers that end before their time: files that change, peers that leave or stand still,
// servers that close, at every stage between the request and the last byte. No descriptor and no
// slot is left, and nobody takes a part for the whole.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <vector>

#include "test/files_rig.h"

namespace millrace::test {
namespace {

const std::string kParts = "Range: bytes=10-19,200-90199,95000-95009\r\n";

void shorten(const FilesRig& rig, const std::string& name, size_t size) {
  EXPECT(::truncate(rig.at(name).c_str(), static_cast<off_t>(size)) == 0);
  set_age(rig.folder(), name, kOldFile);
}

std::string read_to(FilesRig& rig, SimPeer peer, size_t size) {
  std::string got;
  while (got.size() < size) {
    rig->sim().limit_window(peer, size - got.size());
    std::string more = rig.read_all(peer);
    if (more.empty()) break;
    got += more;
  }
  EXPECT(got.size() == size);
  return got;
}

// --- files that change ---

constexpr std::array<size_t, 8> kLengths = {0, 7, 15, 5000, 60'000, 90'199, 90'200, 95'004};

struct Cut {
  std::string range;
  std::vector<size_t> starts;  // of the parts
  std::vector<size_t> ends;
};

// Where in the whole answer the first byte stands that is behind `left` bytes of the file.
size_t cut_at(const std::string& whole, const Cut& cut, size_t left) {
  size_t from = 0;
  for (size_t i = 0; i < cut.starts.size(); i++) {
    // The head of the answer, or of the part.
    if (cut.starts.size() > 1)
      from = whole.find("Content-Range: bytes " + std::to_string(cut.starts[i]));
    from = whole.find("\r\n\r\n", from) + 4;
    if (cut.ends[i] > left) return from + (left > cut.starts[i] ? left - cut.starts[i] : 0);
  }
  return whole.size();
}

TEST("a file made shorter while it is sent cuts the connection, never says less than announced") {
  const Cut cuts[] = {{"", {0}, {100'000}},
                      {"Range: bytes=5-99994\r\n", {5}, {99'995}},
                      {kParts, {10, 200, 95'000}, {20, 90'200, 95'010}}};
  for (const Cut& cut : cuts) {
    for (size_t left : kLengths) {
      context = cut.range + std::to_string(left);
      FilesRig rig;
      const std::string asked = request("GET", "/f/large.bin", cut.range);
      const std::string whole = same_boundary(rig.ask(asked));
      SimPeer peer = rig.connect_slow(0);
      rig->send(peer, asked + request("GET", "/static"));
      // The head and a little more, so that the descriptor is what is being sent.
      const size_t before = whole.find("\r\n\r\n") + 7;
      std::string got = read_to(rig, peer, before);
      shorten(rig, "large.bin", left);
      rig->sim().limit_window(peer, UINT64_MAX);
      got = same_boundary(got + rig.read_all(peer));
      EXPECT(got == whole.substr(0, std::max(before, cut_at(whole, cut, left))));
      EXPECT(got.size() < whole.size());
      EXPECT(rig->sim().saw_reset(peer));
      EXPECT(rig->stats().connections.get() == 1 && rig.queued() == 0);
      EXPECT(rig.open_files() == 0);
    }
  }
  context.clear();
}

TEST("a file made shorter between its search and its turn to be sent cuts the connection too") {
  FilesRig rig;
  SimPeer peer = rig.connect_slow(0);
  rig->send(peer, request("GET", "/f/large.bin"));
  EXPECT(rig.run_disk() == 1);
  EXPECT(rig.open_files() == 1);
  shorten(rig, "large.bin", 0);
  rig->sim().limit_window(peer, UINT64_MAX);
  std::string got = rig.read_all(peer);
  EXPECT(field_of(got, "Content-Length") == "100000" && body_of(got).empty());
  EXPECT(rig->sim().saw_reset(peer));
  EXPECT(rig.open_files() == 0);
}

TEST("a file that came with its bytes, one that grows and one that is replaced go out as found") {
  FilesRig rig;
  SimPeer peer = rig.connect_slow(0);
  rig->send(peer, request("GET", "/f/small.txt"));
  EXPECT(rig.run_disk() == 1);
  shorten(rig, "small.txt", 0);
  rig->sim().limit_window(peer, UINT64_MAX);
  EXPECT(body_of(rig.read_all(peer)) == numbered(kSmallFile));
  for (bool replaced : {false, true}) {
    rig->sim().limit_window(peer, 0);
    rig->send(peer, request("GET", "/f/large.bin"));
    std::string got = read_to(rig, peer, 1000);
    if (replaced) {
      EXPECT(::unlink(rig.at("large.bin").c_str()) == 0);
      rig.served().add("large.bin", "another");
    } else {
      EXPECT(::truncate(rig.at("large.bin").c_str(), kLargeFile + 5000) == 0);
      set_age(rig.folder(), "large.bin", kOldFile);
    }
    rig->sim().limit_window(peer, UINT64_MAX);
    got += rig.read_all(peer);
    EXPECT(field_of(got, "Content-Length") == (replaced ? "105000" : "100000"));
    std::string body = numbered(kLargeFile);
    if (replaced) body.append(5000, '\0');
    EXPECT(body_of(got) == body);
  }
  EXPECT(body_of(rig.ask(peer, request("GET", "/f/large.bin"))) == "another");
}

// --- peers that leave ---

// How far a request had come when its peer left.
enum class Stage : uint8_t { Asked, Found, Beginning, InTheMiddle };
constexpr std::array kStages = {Stage::Asked, Stage::Found, Stage::Beginning, Stage::InTheMiddle};

SimPeer peer_at(FilesRig& rig, Stage stage, const std::string& requests) {
  SimPeer peer = rig.connect_slow(stage == Stage::InTheMiddle ? 30'000 : 0);
  rig->send(peer, requests);
  if (stage == Stage::Asked) return peer;
  // Found, but not taken back by the loop yet.
  if (stage == Stage::Found) EXPECT(rig->disk().run_one());
  if (stage > Stage::Found) EXPECT(rig.run_disk() > 0);
  return peer;
}

TEST("a peer that leaves at any stage of a file leaves no descriptor and no slot") {
  for (const char* lines : {"", "Range: bytes=5-90000\r\n", kParts.c_str()}) {
    for (Stage stage : kStages) {
      for (bool resets : {true, false}) {
        context = lines + std::to_string(static_cast<int>(stage)) + (resets ? " reset" : " close");
        FilesRig rig;
        SimPeer peer = peer_at(rig, stage, request("GET", "/f/large.bin", lines));
        EXPECT(rig.open_files() == (stage == Stage::Asked ? 0 : 1));
        resets ? rig->sim().reset(peer) : rig->sim().close(peer);
        rig->sim().limit_window(peer, UINT64_MAX);
        rig->turn();
        rig.run_disk();
        rig->turn();
        EXPECT(rig->stats().connections.get() == 0);
        EXPECT(rig.queued() == 0);
        EXPECT(rig.open_files() == 0);
        EXPECT(!rig->disk().run_one());
      }
    }
  }
  context.clear();
}

TEST("a handler is told once what became of its file, or that the peer has left") {
  for (Stage stage : kStages) {
    for (bool resets : {true, false}) {
      context = std::to_string(static_cast<int>(stage)) + (resets ? " reset" : " half-closed");
      FilesRig rig;
      SimPeer peer = rig.connect_slow(stage == Stage::InTheMiddle ? 30'000 : 0);
      ExchangeId id = rig.handled(peer, request("GET", "/x"));
      rig.send_file(id, {.path = rig.at("large.bin")});
      if (stage == Stage::Found) EXPECT(rig->disk().run_one());
      if (stage > Stage::Found) EXPECT(rig.run_disk() == 1);
      resets ? rig->sim().reset(peer) : rig->sim().half_close(peer);
      rig->turn();
      rig.run_disk();
      rig->sim().limit_window(peer, UINT64_MAX);
      std::string got = rig.read_all(peer);
      size_t told = 0;
      for (const Taken& taken : rig->take()) {
        if (taken.kind == EventKind::PeerClosed) continue;
        told++;
        bool is_lost = resets && stage == Stage::Asked;
        EXPECT(taken.kind == (is_lost ? EventKind::Aborted : EventKind::File));
        EXPECT(taken.status == 0);
      }
      EXPECT(told == 1);
      if (!resets) EXPECT(body_of(got) == numbered(kLargeFile));
      EXPECT(rig->stats().in_flight.get() == 0 && rig.queued() == 0);
      EXPECT(rig.open_files() == 0);
    }
  }
  context.clear();
}

TEST("what is found too late is not taken for what the next connection asks for") {
  FilesRig rig;
  SimPeer gone = rig.connect();
  rig->send(gone, request("GET", "/f/large.bin"));
  rig->sim().reset(gone);
  rig->turn();
  SimPeer peer = rig.connect();
  rig->send(peer, request("GET", "/f/small.txt"));
  EXPECT(rig.run_disk() == 2);
  EXPECT(body_of(rig.read_all(peer)) == numbered(kSmallFile));
  EXPECT(rig.open_files() == 0);
}

TEST("a handler that cuts its answer while the file is looked for or sent ends both") {
  for (bool is_found : {false, true}) {
    FilesRig rig;
    SimPeer peer = rig.connect_slow(1000);
    ExchangeId id = rig.handled(peer, request("GET", "/x"));
    rig.send_file(id, {.path = rig.at("large.bin"), .range = "bytes=1-9,50-60000"});
    if (is_found) EXPECT(rig.run_disk() == 1);
    Command command;
    command.kind = static_cast<uint16_t>(CommandKind::Cut);
    command.exchange = id;
    EXPECT(put_command(rig->lane(), command));
    rig->turn();
    rig.run_disk();
    // Once its last byte is queued the exchange is over, and the command late.
    EXPECT(rig->sim().saw_reset(peer) == !is_found);
    EXPECT(rig->stats().late_commands.get() == (is_found ? 1 : 0));
    rig->sim().reset(peer);
    rig->turn();
    EXPECT(rig.open_files() == 0);
    EXPECT(rig->take().size() == 1);
  }
}

// --- those that stand still ---

TEST("a reader that stands still loses the connection, and one that reads a little does not") {
  Limits limits;
  limits.write_timeout = 30'000;
  FilesRig rig(limits);
  SimPeer still = rig.connect_slow(2000);
  SimPeer slow = rig.connect_slow(2000);
  for (SimPeer peer : {still, slow})
    rig->send(peer, request("GET", "/f/large.bin", kParts) + request("GET", "/f/small.txt"));
  EXPECT(rig.run_disk() == 2);
  std::string got = rig->sim().read(slow);
  for (int i = 0; i < 4; i++) {
    rig->pass(20'000);
    rig->sim().limit_window(slow, 1);
    rig->turn();
  }
  EXPECT(rig->sim().saw_reset(still));
  EXPECT(rig->sim().read(still).size() == 2000);
  EXPECT(!rig->sim().saw_close(slow));
  EXPECT(rig.open_files() == 1);
  rig->sim().limit_window(slow, UINT64_MAX);
  got += rig.read_all(slow);
  EXPECT(got.ends_with(numbered(kSmallFile)));
  EXPECT(rig->stats().write_timeouts.get() == 1);
}

TEST("a slow disk is nobody's timeout, and a slow handler's is counted from its own") {
  Limits limits;
  limits.handler_timeout = 5000;
  limits.keep_alive_timeout = 5000;
  FilesRig rig(limits);
  SimPeer peer = rig.connect();
  ExchangeId id = rig.handled(peer, request("GET", "/x"));
  rig.send_file(id, {.path = rig.at("large.bin")});
  SimPeer other = rig.connect();
  rig->send(other, request("GET", "/f/small.txt"));
  rig->pass(60'000);
  EXPECT(!rig->sim().saw_close(peer) && !rig->sim().saw_close(other));
  EXPECT(body_of(rig.read_all(peer)) == numbered(kLargeFile));
  EXPECT(body_of(rig.read_all(other)) == numbered(kSmallFile));
  EXPECT(rig->take_one().kind == EventKind::File);
  rig->pass(5100);
  EXPECT(rig->sim().saw_half_close(peer));
  EXPECT(rig->sim().saw_half_close(other));
}

// --- servers that close ---

TEST("a server that closes sends what was asked for, whole, and says that it is the last") {
  for (Stage stage : kStages) {
    context = std::to_string(static_cast<int>(stage));
    FilesRig rig;
    SimPeer peer = peer_at(rig, stage, request("GET", "/f/large.bin"));
    rig->control(CommandKind::Close, 5000);
    rig->sim().limit_window(peer, UINT64_MAX);
    std::string got = rig.read_all(peer);
    EXPECT(body_of(got) == numbered(kLargeFile));
    // Unless the head had been written before.
    EXPECT((field_of(got, "Connection") == "close") == (stage <= Stage::Found));
    EXPECT(rig->sim().saw_half_close(peer) && !rig->sim().saw_reset(peer));
    EXPECT(rig.open_files() == 0);
  }
  context.clear();
}

TEST("a server that cannot wait any longer cuts files at every stage") {
  for (Stage stage : kStages) {
    context = std::to_string(static_cast<int>(stage));
    FilesRig rig;
    SimPeer peer = peer_at(rig, stage, request("GET", "/f/large.bin", kParts));
    rig->control(CommandKind::Close, 5000);
    rig->pass(5100);
    bool has_begun = stage != Stage::Asked;
    EXPECT(rig->sim().saw_close(peer));
    if (has_begun) EXPECT(rig->sim().saw_reset(peer));
    EXPECT(rig.queued() == 0);
    rig.run_disk();
    EXPECT(rig.open_files() == 0);
  }
  context.clear();
}

TEST("a loop that ends closes what is found, looked for and sent") {
  const int before = open_descriptors();
  {
    FilesRig rig;
    for (Stage stage : kStages) {
      static_cast<void>(peer_at(rig, stage, request("GET", "/f/large.bin", kParts)));
      static_cast<void>(peer_at(rig, stage, request("GET", "/f/large.bin")));
    }
  }
  EXPECT(open_descriptors() == before);
}

// --- files that are not in memory ---

#if defined(__linux__)

TEST("a file that is not in memory is read by the disk before the loop touches it") {
  FilesRig rig;
  if (!drop_from_cache(rig, "large.bin")) return;  // some file systems live in memory
  for (bool leaves : {false, true}) {
    SimPeer peer = rig.connect();
    rig->send(peer, request("GET", "/f/large.bin"));
    EXPECT(rig->disk().run_one());  // the search
    EXPECT(drop_from_cache(rig, "large.bin"));
    rig->turn();
    std::string got = rig->sim().read(peer);
    EXPECT(body_of(got).empty() && !got.empty());
    EXPECT(rig.open_files() == 2);  // one that is sent, one that the disk reads
    if (leaves) rig->sim().reset(peer);
    rig->turn();
    EXPECT(rig.run_disk() == 1);
    got += rig.read_all(peer);
    EXPECT(body_of(got) == (leaves ? "" : numbered(kLargeFile)));
    EXPECT(rig.open_files() == 0);
  }
}

#endif

}  // namespace
}  // namespace millrace::test
