// Fuzzes what JavaScript may tell a loop: commands of every kind for exchanges that are open, over,
// answered twice, not there yet or never there, with any status, lines, body and flags, while peers
// come, pipeline, stop reading and leave; files too, found by a disk that works when the input says
// so, some of them shorter when they are sent than when they were found; and other routers. What
// names no open exchange must reach nobody; what names one reaches its peer, in order and once; who
// asks about an answer is told once, and the truth. Not here: the kind and the size of a record,
// which the addon writes itself; statuses beyond three digits, which TypeScript refuses and the
// core aborts on.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fuzz/input.h"
#include "fuzz/served_files.h"
#include "test/loop_rig.h"

namespace millrace {
namespace {

using fuzz::Input;
using fuzz::ServedFiles;
using test::Taken;

constexpr size_t kPeersMax = 12;
constexpr uint32_t kRequestsMax = 300;
constexpr uint32_t kNobody = 0;  // the number that bad commands carry; requests count from 1

struct Client {
  SimPeer peer;
  std::vector<uint32_t> requests = {};  // those that JavaScript answers, by number
  bool is_plain = true;                 // nothing happened that may cost it an answer
  bool has_left = false;                // by itself
};

enum class Stage : uint8_t { Open, Sought, Answered, Over };

struct Known {
  ExchangeId id;
  uint32_t number;
  Stage stage = Stage::Open;
  bool saw_aborted = false;
  bool is_head = false;
  bool is_connect = false;
  bool is_marked = false;  // answered with a head that tells its number
};

// How often an exchange was asked about, and what came of it.
struct Asked {
  uint32_t tells = 0;
  uint32_t lefts = 0;
  bool is_early = false;  // before it was answered
  bool has_left = false;
};

// What a response tells of itself: '~' begins the number of an informational one, '{' of a final.
struct Mark {
  char kind;
  uint32_t number;
};

std::vector<Mark> marks_of(const std::string& text) {
  std::vector<Mark> marks;
  for (size_t at = text.find_first_of("~{"); at != std::string::npos;
       at = text.find_first_of("~{", at + 1)) {
    marks.push_back({text[at], static_cast<uint32_t>(std::stoul("0" + text.substr(at + 1, 9)))});
  }
  return marks;
}

// Of the responses with which the loop itself refuses what waits for too long.
size_t shed_in(const std::string& text) {
  size_t count = 0;
  for (size_t at = 0; (at = text.find("Retry-After: ", at)) != std::string::npos; at++) count++;
  return count;
}

Limits limits_of(uint8_t flavour) {
  Limits limits;
  if ((flavour & 1) != 0) limits.in_flight_max = 3;
  if ((flavour & 2) != 0) limits.pipeline_max = 3;
  if ((flavour & 4) != 0) limits.buffered_bytes_max = 4096;
  if ((flavour & 8) != 0) limits.handler_timeout = 5000;
  if ((flavour & 16) != 0) limits.queue_delay_max = 300;
  return limits;
}

class Run final {
 public:
  explicit Run(Input& input)
      : input_(input),
        flavour_(input.byte()),
        rig_(limits_of(flavour_), {.seed = 7, .short_write = input.byte()}, {},
             serves_files() ? &files_ : nullptr) {
    served_.restore();
    for (Router& router : routers_)
      test::add_routes(router, serves_files() ? files_.routes : std::vector<RouteRow>());
  }

  void run() {
    while (!input_.empty()) step();
    if (input_ends_abruptly_) return;
    for (Client& client : clients_) rig_.sim().limit_window(client.peer, UINT64_MAX);
    rig_.sim().set_faults({});
    answer_what_is_open();
    judge();
  }

 private:
  void step() {
    switch (input_.below(16)) {
      case 0:
      case 1: return connect();
      case 2:
      case 3:
      case 4: return request();
      case 5: return turn();
      case 6: return take(input_.below(4));
      case 7: return leave();
      case 8: return guess();
      case 9: return command_before_sleep();
      case 10: return control();
      case 11: return pass();
      default: return command(pick());
    }
  }

  [[nodiscard]] bool serves_files() const { return (flavour_ & 32) != 0; }
  void turn() {
    if (serves_files()) {
      uint32_t choice = input_.below(16);
      if (choice < 8) rig_.disk().run_one(choice & 1);
      if (choice == 15) {
        served_.shorten(input_);
        nobody_is_plain();
      }
    }
    rig_.turn(1);
  }
  void run_disk() {
    while (rig_.disk().run_one()) rig_.turn(1);
  }

  // --- peers ---

  void connect() {
    if (clients_.size() == kPeersMax) return;
    clients_.push_back({rig_.connect(), {}, !is_ending_});
  }
  void request() {
    if (clients_.empty() || next_number_ > kRequestsMax) return;
    Client& client = clients_[input_.below(static_cast<uint32_t>(clients_.size()))];
    std::string number = std::to_string(next_number_);
    std::string rest = " HTTP/1.1\r\nHost: a\r\n";
    std::string target = " /" + number;
    uint32_t form = input_.below(12);
    if (serves_files() && form >= 10) return request_file(client);
    std::string text = "GET" + target + rest + "\r\n";
    switch (form) {
      case 0: text = test::get("/static"); break;
      case 1: text = "HEAD" + target + rest + "\r\n"; break;
      case 2: text = test::post("/" + number, input_.byte()); break;
      case 3: text = test::post("/" + number, kInlineBodyMax + 1); break;
      case 4: text = "GET" + target + " HTTP/1.0\r\n\r\n"; break;
      case 5: text = "CONNECT a:" + number + rest + "\r\n"; break;
      case 6: text = "GET" + target + rest + "Connection: close\r\n\r\n"; break;
      case 7: text = "POST" + target + rest + "Content-Length: 9\r\n\r\nhalf"; break;
      default: break;
    }
    rig_.sim().write(client.peer, text);
    if (form >= 4 && form <= 7) client.is_plain = false;
    if (form == 0) return;
    if (client.is_plain) client.requests.push_back(next_number_);
    owners_[next_number_++] = client.peer;
  }
  void request_file(Client& client) {
    std::string text = ServedFiles::request(input_);
    if (text.find("close") != std::string::npos) client.is_plain = false;
    rig_.sim().write(client.peer, text);
  }
  void leave() {
    if (clients_.empty()) return;
    Client& client = clients_[input_.below(static_cast<uint32_t>(clients_.size()))];
    switch (input_.below(4)) {
      case 0: return rig_.sim().limit_window(client.peer, input_.byte());
      case 1: rig_.sim().half_close(client.peer); break;
      case 2:
        rig_.sim().close(client.peer);
        client.has_left = true;
        break;
      default:
        rig_.sim().reset(client.peer);
        client.has_left = true;
        break;
    }
    client.is_plain = false;
  }
  void nobody_is_plain() {
    for (Client& client : clients_) client.is_plain = false;
  }

  // --- the time, and the end ---

  void pass() {
    rig_.pass(Milliseconds{100} << input_.below(10));
    nobody_is_plain();
  }
  void control() {
    uint8_t choice = input_.byte();
    if (choice >= 128) return;
    if (choice >= 112) return reroute(routers_[choice & 1]);
    if (choice >= 96) return tell({input_.byte(), input_.byte()});
    if (choice >= 16) return tell(pick());
    is_ending_ = true;
    nobody_is_plain();
    CommandKind kind = choice < 8 ? CommandKind::Drain : CommandKind::Close;
    MR_CHECK(test::put_control(rig_.lane(), kind, input_.byte() * 100u));
    input_ends_abruptly_ = choice == 15;
  }

  // --- events ---

  void take(size_t count) {
    for (const Taken& taken : rig_.take(count)) {
      if (taken.kind == EventKind::Request) {
        size_t digits = taken.target.find_first_of("0123456789");
        auto number = static_cast<uint32_t>(std::stoul(taken.target.substr(digits)));
        // An id is given once.
        MR_CHECK(places_.emplace(key_of(taken.id), known_.size()).second);
        known_.push_back({taken.id, number});
        known_.back().is_head = taken.method == "HEAD";
        known_.back().is_connect = taken.method == "CONNECT";
      } else if (taken.kind == EventKind::File) {
        Known* known = find(taken.id);
        MR_CHECK(known != nullptr && known->stage == Stage::Sought);
        known->stage = taken.status == 0 ? Stage::Answered : Stage::Open;
      } else if (taken.kind == EventKind::Aborted) {
        Known* known = find(taken.id);
        MR_CHECK(known != nullptr && !std::exchange(known->saw_aborted, true));
        known->stage = Stage::Over;
      } else if (taken.kind == EventKind::Left) {
        Asked& asked = asked_[key_of(taken.id)];
        MR_CHECK(++asked.lefts <= asked.tells && taken.status <= 1);
        asked.has_left = asked.has_left || taken.status == 1;
      } else if (taken.kind == EventKind::Rerouted) {
        reroutes_--;
      }
    }
  }
  static uint64_t key_of(ExchangeId id) { return uint64_t{id.slot} << 32 | id.generation; }
  Known* find(ExchangeId id) {
    auto place = places_.find(key_of(id));
    return place == places_.end() ? nullptr : &known_[place->second];
  }

  // --- commands ---

  // One that JavaScript has seen, the youngest ones more often.
  ExchangeId pick() {
    if (known_.empty()) return {};
    uint32_t back = input_.below(input_.below(4) == 0 ? static_cast<uint32_t>(known_.size()) : 4);
    return known_[known_.size() - 1 - std::min<size_t>(back, known_.size() - 1)].id;
  }
  // One that it may not have seen. The loop takes the command before it gives that id away.
  void guess() {
    take(SIZE_MAX);
    ExchangeId id = pick();
    switch (input_.below(6)) {
      case 0: id.generation += 1u + input_.byte(); break;
      case 1: id.generation -= 1; break;
      case 2: id.slot += 1u + input_.byte(); break;
      case 3: id = {input_.below(65536), 0}; break;
      case 4: id = {(1u << 20) - 1, input_.byte()}; break;
      default: id = {UINT32_MAX - input_.below(3), UINT32_MAX}; break;
    }
    MR_CHECK(find(id) != nullptr || rig_.loop().exchanges().connection_of(id) == UINT32_MAX);
    command(id);
    static_cast<void>(rig_.work());
  }
  // The bell was silent, as the loop was awake: only its second look keeps it from sleeping.
  void command_before_sleep() {
    Milliseconds at_most = rig_.work();
    command(pick());
    bool waits = !rig_.lane().commands.is_empty();
    rig_.poll(at_most);
    MR_CHECK(!waits || rig_.sim().allowed_sleep() == 0);
  }
  void command(ExchangeId id) {
    uint32_t choice = input_.below(16);
    if (choice == 0) return cut(id);
    if (serves_files()) {
      Known* known = find(id);
      // The handler waits for the disk.
      if (known != nullptr && known->stage == Stage::Sought) return;
      if (choice >= 11) return send_file(id);
    }
    send(id, choice < 5 ? CommandKind::Informational : CommandKind::Respond, input_.byte());
  }
  void tell(ExchangeId id) {
    const Known* known = find(id);
    bool is_early =
        known != nullptr && (known->stage == Stage::Open || known->stage == Stage::Sought);
    Asked& asked = asked_[key_of(id)];
    asked.tells++;
    asked.is_early = asked.is_early || is_early;
    Command command;
    command.kind = static_cast<uint16_t>(CommandKind::Tell);
    command.exchange = id;
    put(command, "", "");
  }
  void reroute(const Router& router) {
    reroutes_++;
    Command command;
    command.kind = static_cast<uint16_t>(CommandKind::Reroute);
    command.blob = reinterpret_cast<uintptr_t>(&router);
    put(command, "", "");
  }
  void cut(ExchangeId id) {
    Known* known = find(id);
    if (known != nullptr && (known->stage == Stage::Open || known->stage == Stage::Sought)) {
      // What is sought may have been found: then the command is late, and the file comes whole.
      if (known->stage == Stage::Open) known->stage = Stage::Over;
      harm(*known);
    } else {
      bad_commands_++;
    }
    Command command;
    command.kind = static_cast<uint16_t>(CommandKind::Cut);
    command.exchange = id;
    put(command, "", "");
  }
  void harm(const Known& known) {
    for (Client& client : clients_) {
      if (client.peer == owners_[known.number]) client.is_plain = false;
    }
  }
  void send(ExchangeId id, CommandKind kind, uint8_t flags) {
    Known* known = find(id);
    bool is_open = known != nullptr && known->stage == Stage::Open;
    bool is_final = kind == CommandKind::Respond;
    if (!is_open) bad_commands_++;
    Command command;
    command.kind = static_cast<uint16_t>(kind);
    command.exchange = id;
    command.status = static_cast<uint16_t>(100 + input_.below(is_final ? 900 : 100));
    command.flags =
        flags & (kCommandClose | kCommandHasLength | kCommandHasDate | kCommandHasConnection);
    if (is_open && is_final) {
      known->stage = Stage::Answered;
      known->is_marked = true;
    }
    if (is_open && (command.flags & kCommandClose) != 0) harm(*known);
    std::string mark = (is_final ? "{" : "~") + std::to_string(is_open ? known->number : kNobody);
    std::string lines = "X-Number: " + mark + "\r\n";
    if ((flags & 32) != 0) lines += "X-Filler: " + std::string(input_.below(10'000), 'f') + "\r\n";
    std::string body;
    if (is_final && (flags & 64) != 0) body.assign(kInlineBodyMax - 8 + input_.byte() % 16u, 'b');
    if (is_final && (flags & 128) != 0) body.append(input_.byte(), 'c');
    if (!is_final || (flags & 1) == 0) return put(command, lines, body);
    // The same by pieces.
    command.kind = static_cast<uint16_t>(CommandKind::Begin);
    put(command, lines, "");
    Command more;
    more.exchange = id;
    more.kind = static_cast<uint16_t>(CommandKind::Write);
    for (size_t at = 0; at < body.size(); at += kInlineBodyMax + 4) {
      put(more, "", body.substr(at, kInlineBodyMax + 4));
    }
    put(more, "", body);
    more.kind = static_cast<uint16_t>(CommandKind::End);
    put(more, (flags & 32) != 0 ? "X-Sum: 1\r\n" : "", "");
  }
  void send_file(ExchangeId id) {
    Known* known = find(id);
    bool is_open = known != nullptr && known->stage == Stage::Open;
    if (!is_open) bad_commands_++;
    bool is_head = known != nullptr && known->is_head;
    test::FileWish wish = served_.wish(input_, is_head);
    wish.lines += "X-Number: {" + std::to_string(is_open ? known->number : kNobody) + "\r\n";
    bool is_connect = known != nullptr && known->is_connect;
    if (is_head || is_connect) wish.lines += "X-Bodiless: 1\r\n";
    if (is_open) known->stage = Stage::Sought;
    if (test::put_file(rig_.lane(), id, wish)) return;
    rig_.turn(1);
    MR_CHECK(test::put_file(rig_.lane(), id, wish));
  }
  void put(const Command& command, const std::string& lines, const std::string& body) {
    if (test::put_command(rig_.lane(), command, lines, body)) return;
    rig_.turn(1);
    MR_CHECK(test::put_command(rig_.lane(), command, lines, body));
  }

  // --- what must have come of it ---

  void answer_what_is_open() {
    for (int i = 0; i < 1000; i++) {
      run_disk();
      rig_.turn();
      run_disk();
      size_t before = known_.size();
      take(SIZE_MAX);
      for (const Known& known : std::vector<Known>(known_)) {
        if (known.stage == Stage::Open) send(known.id, CommandKind::Respond, 0);
      }
      bool is_over = rig_.lane().commands.is_empty() && reroutes_ == 0;
      if (known_.size() == before && is_over) return;
    }
    MR_CHECK(false);
  }
  void judge() {
    MR_CHECK(rig_.stats().late_commands.get() >= bad_commands_);
    for (const Client& client : clients_) {
      std::vector<uint32_t> answered;
      uint32_t last = 0;
      std::string text = rig_.sim().read(client.peer);
      if (serves_files()) check_files(client, text);
      for (Mark mark : marks_of(text)) {
        MR_CHECK(mark.number != kNobody);
        MR_CHECK(owners_.at(mark.number) == client.peer);
        // In order; nothing of an exchange behind its final response.
        MR_CHECK(mark.number >= last);
        MR_CHECK(answered.empty() || mark.number > answered.back());
        last = mark.number;
        if (mark.kind == '{') answered.push_back(mark.number);
      }
      judge_asked(client, answered);
      if (!client.is_plain) continue;
      // Each request once: by JavaScript, in order, or by the loop.
      MR_CHECK(answered.size() + shed_in(text) == client.requests.size());
      MR_CHECK(std::includes(client.requests.begin(), client.requests.end(), answered.begin(),
                             answered.end()));
    }
  }

  // All that was asked about is over.
  void judge_asked(const Client& client, const std::vector<uint32_t>& answered) {
    for (const auto& [key, asked] : asked_)
      MR_CHECK(asked.lefts <= asked.tells && (asked.lefts > 0 || asked.tells == 0));
    // Who has ended the connection may have missed what had left.
    if (client.has_left || rig_.sim().saw_reset(client.peer)) return;
    for (const Known& known : known_) {
      auto place = asked_.find(key_of(known.id));
      if (place == asked_.end() || !known.is_marked || owners_[known.number] != client.peer)
        continue;
      bool is_here = std::binary_search(answered.begin(), answered.end(), known.number);
      MR_CHECK(!place->second.has_left || is_here);
      MR_CHECK(place->second.has_left || !client.is_plain || !place->second.is_early);
    }
  }

  void check_files(const Client& client, const std::string& text) {
    if (client.has_left) return;
    bool is_cut = rig_.sim().saw_reset(client.peer);
    MR_CHECK(!is_cut || !client.is_plain);
    served_.check(text, is_cut);
  }

  Input& input_;
  const uint8_t flavour_;
  ServedFiles& served_ = ServedFiles::of_process();
  test::RigFiles files_ = served_.rig_files();
  std::array<Router, 2> routers_;  // that outlive the loop
  test::Rig rig_;
  std::vector<Client> clients_;
  std::map<uint32_t, SimPeer> owners_;  // by request
  std::vector<Known> known_;
  std::map<uint64_t, size_t> places_;  // of ids in known_
  std::map<uint64_t, Asked> asked_;    // by id
  int reroutes_ = 0;                   // of which no loop has told
  uint32_t next_number_ = 1;
  int64_t bad_commands_ = 0;
  bool is_ending_ = false;
  bool input_ends_abruptly_ = false;
};

// The system gives the lowest away first.
int lowest_free_descriptor() { return Fd(::dup(STDERR_FILENO)).get(); }

}  // namespace
}  // namespace millrace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 3 || size > 8192) return 0;
  millrace::fuzz::Input input(data, size);
  static_cast<void>(millrace::ServedFiles::of_process());  // has a descriptor of its own
  const int lowest = millrace::lowest_free_descriptor();
  // The rig expects at its end that nothing is left of connections, exchanges, blocks, deadlines.
  millrace::Run(input).run();
  MR_CHECK(millrace::lowest_free_descriptor() == lowest);
  MR_CHECK(millrace::test::failures == 0);
  return 0;
}
