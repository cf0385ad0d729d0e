// Negotiation of permessage-deflate: what known clients offer, each rule of RFC 7692 7.1, both ends
// against each other, and the grammar of RFC 6455 9.1.
#include "core/proto/ws/extension.h"

#include <string>
#include <vector>

#include "test/harness.h"

namespace millrace::ws {
namespace {

constexpr DeflateSettings kPlain{.enabled = true};
constexpr DeflateSettings kTakeover{
    .enabled = true, .context_takeover = true, .peer_context_takeover = true};

struct Outcome {
  bool ok = false;
  DeflateParameters agreed = {};
  std::string answer = "nothing";
};

Outcome accept(Bytes offers, const DeflateSettings& settings = kTakeover) {
  Outcome outcome;
  test::context = offers;
  outcome.ok = accept_offer(offers, settings, outcome.agreed, outcome.answer);
  EXPECT(outcome.agreed.enabled == !outcome.answer.empty());
  EXPECT(outcome.ok || outcome.answer.empty());
  return outcome;
}

std::string answer_to(Bytes offers, const DeflateSettings& settings = kTakeover) {
  const Outcome outcome = accept(offers, settings);
  return outcome.ok ? outcome.answer : "malformed";
}

bool reads(Bytes answer, const DeflateSettings& settings = kTakeover) {
  DeflateParameters agreed{.enabled = true};
  test::context = answer;
  const bool ok = read_answer(answer, settings, agreed);
  EXPECT(agreed.enabled == (ok && !answer.empty()));
  return ok;
}

TEST("what known clients offer is answered") {
  const struct {
    Bytes offers;
    Bytes plain;
    Bytes takeover;
  } rows[] = {
      // Chromium, npm ws, Node's own, Python's websockets
      {"permessage-deflate; client_max_window_bits",
       "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
       "permessage-deflate"},
      // Firefox, Safari
      {"permessage-deflate",
       "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
       "permessage-deflate"},
      // Safari before 15
      {"x-webkit-deflate-frame", "", ""},
      // Go's gorilla
      {"permessage-deflate; server_no_context_takeover; client_no_context_takeover",
       "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
       "permessage-deflate; server_no_context_takeover; client_no_context_takeover"},
      // npm ws with all its options
      {"permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
       "server_max_window_bits=10; client_max_window_bits=11",
       "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
       "server_max_window_bits=10; client_max_window_bits=11",
       "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
       "server_max_window_bits=10; client_max_window_bits=11"},
      // Java's Tyrus
      {"permessage-deflate;client_max_window_bits=15;server_no_context_takeover",
       "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
       "permessage-deflate; server_no_context_takeover"},
  };
  for (const auto& row : rows) {
    EXPECT(answer_to(row.offers, kPlain) == row.plain);
    EXPECT(answer_to(row.offers) == row.takeover);
    EXPECT(answer_to(row.offers, DeflateSettings()).empty());
  }
  EXPECT(answer_to("").empty());
}

TEST("each end's choices become parameters of the answer") {
  DeflateSettings settings = kTakeover;
  settings.context_takeover = false;
  EXPECT(answer_to("permessage-deflate", settings) ==
         "permessage-deflate; server_no_context_takeover");
  settings = kTakeover;
  settings.peer_context_takeover = false;
  EXPECT(answer_to("permessage-deflate", settings) ==
         "permessage-deflate; client_no_context_takeover");
  settings = kTakeover;
  settings.window_bits = 9;
  settings.peer_window_bits = 10;
  // Not asked of a client that did not offer to be asked.
  Outcome outcome = accept("permessage-deflate", settings);
  EXPECT(outcome.answer == "permessage-deflate; server_max_window_bits=9");
  EXPECT(outcome.agreed.own_window_bits == 9 && outcome.agreed.peer_window_bits == 15);
  EXPECT(outcome.agreed.own_takeover && outcome.agreed.peer_takeover);
  outcome = accept("permessage-deflate; client_max_window_bits", settings);
  EXPECT(outcome.answer ==
         "permessage-deflate; server_max_window_bits=9; client_max_window_bits=10");
  EXPECT(outcome.agreed.peer_window_bits == 10);
  // The smaller of both, in both directions.
  outcome =
      accept("permessage-deflate; client_max_window_bits=8; server_max_window_bits=12", settings);
  EXPECT(outcome.answer ==
         "permessage-deflate; server_max_window_bits=9; client_max_window_bits=8");
  EXPECT(outcome.agreed.own_window_bits == 9 && outcome.agreed.peer_window_bits == 8);
  outcome = accept("permessage-deflate; client_no_context_takeover; client_max_window_bits=14");
  EXPECT(outcome.answer ==
         "permessage-deflate; client_no_context_takeover; client_max_window_bits=14");
  EXPECT(outcome.agreed.own_takeover && !outcome.agreed.peer_takeover);
  EXPECT(outcome.agreed.own_window_bits == 15 && outcome.agreed.peer_window_bits == 14);
}

TEST("every window that may be offered is accepted, but for one of 8 of ours") {
  for (int bits = 0; bits <= 20; bits++) {
    const std::string number = std::to_string(bits);
    const Outcome server = accept("permessage-deflate; server_max_window_bits=" + number);
    EXPECT(server.ok && server.agreed.enabled == (bits >= 9 && bits <= 15));
    // 15 is said too: that is how an offer with the parameter is accepted.
    if (server.agreed.enabled) {
      EXPECT(server.answer == "permessage-deflate; server_max_window_bits=" + number);
      EXPECT(server.agreed.own_window_bits == bits);
    }
    const Outcome client = accept("permessage-deflate; client_max_window_bits=" + number);
    EXPECT(client.ok && client.agreed.enabled == (bits >= 8 && bits <= 15));
    if (client.agreed.enabled) EXPECT(client.agreed.peer_window_bits == bits);
  }
}

TEST("offers that break a rule are declined") {
  for (Bytes parameters : {"foo",
                           "foo=1",
                           "server_no_context_takeover=1",
                           "client_no_context_takeover=true",
                           "server_no_context_takeover=\"x\"",
                           "server_max_window_bits",
                           "server_max_window_bits=8",
                           "server_max_window_bits=7",
                           "server_max_window_bits=16",
                           "server_max_window_bits=010",
                           "server_max_window_bits=1e1",
                           "server_max_window_bits=+10",
                           "server_max_window_bits=x",
                           "server_max_window_bits=18446744073709551626",
                           "client_max_window_bits=7",
                           "client_max_window_bits=16",
                           "client_max_window_bits=08",
                           "client_max_window_bits=\"0a\"",
                           "server_no_context_takeover; server_no_context_takeover",
                           "client_no_context_takeover; client_no_context_takeover",
                           "server_max_window_bits=10; server_max_window_bits=10",
                           "client_max_window_bits; client_max_window_bits",
                           "client_max_window_bits; client_max_window_bits=10",
                           "Client_Max_Window_Bits",
                           "client_max_window_bits; x=\"y\""}) {
    EXPECT(answer_to("permessage-deflate; " + std::string(parameters)).empty());
  }
  for (Bytes offers : {"deflate-frame", "permessage-deflate2", "Permessage-Deflate", "foo; bar=1",
                       "permessage-bzip2; client_max_window_bits"}) {
    EXPECT(answer_to(offers).empty());
  }
}

TEST("the first offer that can be served wins") {
  EXPECT(answer_to("permessage-deflate; server_max_window_bits=10, permessage-deflate") ==
         "permessage-deflate; server_max_window_bits=10");
  EXPECT(answer_to("permessage-deflate; server_max_window_bits=8, permessage-deflate; "
                   "server_max_window_bits=12, permessage-deflate") ==
         "permessage-deflate; server_max_window_bits=12");
  EXPECT(answer_to("foo; client_max_window_bits=10, permessage-deflate; x, permessage-deflate") ==
         "permessage-deflate");
  // What an offer that was declined has named does not count for the next one.
  EXPECT(answer_to("permessage-deflate; server_no_context_takeover; x, permessage-deflate; "
                   "client_max_window_bits=9") == "permessage-deflate; client_max_window_bits=9");
  EXPECT(answer_to("permessage-deflate, foo; client_no_context_takeover") == "permessage-deflate");
}

TEST("values may be quoted and white space may stand around separators") {
  EXPECT(answer_to("permessage-deflate; server_max_window_bits=\"10\"") ==
         "permessage-deflate; server_max_window_bits=10");
  EXPECT(answer_to("permessage-deflate; server_max_window_bits=\"1\\0\"") ==
         "permessage-deflate; server_max_window_bits=10");
  EXPECT(answer_to(",, \tpermessage-deflate\t;  server_max_window_bits = 10 , ,x,") ==
         "permessage-deflate; server_max_window_bits=10");
  EXPECT(answer_to("x;y=\"a\\b\", permessage-deflate") == "permessage-deflate");
}

TEST("a malformed list fails as a whole, whatever stands before") {
  for (Bytes list : {" ",
                     ",",
                     " , ,",
                     ";",
                     "a;",
                     "a; ;b",
                     "a;;b",
                     "a b",
                     "a; b c",
                     "a=b",
                     "a; b=",
                     "a; =b",
                     "a; b=\"",
                     "a; b=\"c",
                     "a; b=\"c\\",
                     "a; b=\"c\\\"",
                     "a; b=\"\"",
                     "a; b=\"c d\"",
                     "a; b=\"c,d\"",
                     "a; b=\"c\"d",
                     "a; b=c=d",
                     "a; b=c\"d\"",
                     "\"a\"",
                     "a/b",
                     "a; b/c",
                     "a@",
                     "a\x80",
                     "a; b=\x80",
                     "a\r\n",
                     "(",
                     "a; b='c\x7f'"}) {
    EXPECT(!is_extension_list(list));
    EXPECT(answer_to(list) == "malformed");
    EXPECT(answer_to(list, DeflateSettings()) == "malformed");
    EXPECT(answer_to("permessage-deflate, x" + std::string(list)) == "malformed" ||
           is_extension_list("x" + std::string(list)));
    EXPECT(!reads(list));
  }
  EXPECT(!is_extension_list(""));
  EXPECT(!is_extension_list(Bytes("a\0b", 3)));
  for (Bytes list : {"a", "a,b", "a;b", "a;b=c", "a; b=\"c\"", "a;b;b", " a ", "a,,b", ",a",
                     "a; b = c", "!#$%&'*+-.^_`|~", "a; b=\"\\c\""}) {
    test::context = list;
    EXPECT(is_extension_list(list));
    EXPECT(accept(list).ok);
  }
}

TEST("what a client offers follows its settings") {
  EXPECT(make_offer(DeflateSettings()).empty());
  EXPECT(make_offer(kPlain) ==
         "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
         "client_max_window_bits");
  EXPECT(make_offer(kTakeover) == "permessage-deflate; client_max_window_bits");
  DeflateSettings settings = kTakeover;
  settings.window_bits = 11;
  settings.peer_window_bits = 10;
  EXPECT(make_offer(settings) ==
         "permessage-deflate; server_max_window_bits=10; client_max_window_bits=11");
}

TEST("an answer that the offer allows is agreed on") {
  DeflateParameters agreed;
  EXPECT(read_answer("permessage-deflate", kTakeover, agreed));
  EXPECT(agreed.enabled && agreed.own_takeover && agreed.peer_takeover);
  EXPECT(agreed.own_window_bits == 15 && agreed.peer_window_bits == 15);
  EXPECT(
      read_answer("permessage-deflate; client_no_context_takeover; server_max_window_bits=8; "
                  "client_max_window_bits=\"9\"; server_no_context_takeover",
                  kTakeover, agreed));
  EXPECT(agreed.enabled && !agreed.own_takeover && !agreed.peer_takeover);
  EXPECT(agreed.own_window_bits == 9 && agreed.peer_window_bits == 8);
  // What this end only announced holds without an echo; what it asked for was granted.
  DeflateSettings settings = kPlain;
  settings.window_bits = 12;
  EXPECT(read_answer("permessage-deflate; server_no_context_takeover", settings, agreed));
  EXPECT(!agreed.own_takeover && !agreed.peer_takeover && agreed.own_window_bits == 12);
  // No answer, no compression.
  EXPECT(read_answer("", kTakeover, agreed) && !agreed.enabled);
  EXPECT(reads("", DeflateSettings()));
}

TEST("an answer that the offer does not allow fails") {
  for (Bytes answer :
       {"x", "Permessage-deflate", "permessage-deflate, x",
        "permessage-deflate, permessage-deflate", "x, permessage-deflate", "permessage-deflate; x",
        "permessage-deflate;", "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; server_max_window_bits", "permessage-deflate; client_max_window_bits",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=8",
        "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10"}) {
    EXPECT(!reads(answer));
  }
  DeflateSettings disabled = kTakeover;
  disabled.enabled = false;
  EXPECT(!reads("permessage-deflate", disabled));
  EXPECT(!reads("permessage-deflate", kPlain));
  EXPECT(!reads("permessage-deflate; client_no_context_takeover", kPlain));
  DeflateSettings settings = kTakeover;
  settings.window_bits = 11;
  settings.peer_window_bits = 10;
  EXPECT(
      reads("permessage-deflate; server_max_window_bits=10; client_max_window_bits=11", settings));
  EXPECT(!reads("permessage-deflate; server_max_window_bits=11", settings));
  EXPECT(!reads("permessage-deflate; client_max_window_bits=11", settings));
  EXPECT(
      !reads("permessage-deflate; server_max_window_bits=9; client_max_window_bits=12", settings));
}

TEST("both ends of ours agree on the same, whatever each is set to") {
  std::vector<DeflateSettings> all;
  for (unsigned mask = 0; mask < 4; mask++) {
    for (uint8_t own = 9; own <= 15; own++) {
      for (uint8_t peer = 9; peer <= 15; peer++) {
        DeflateSettings settings = kPlain;
        settings.context_takeover = (mask & 1) != 0;
        settings.peer_context_takeover = (mask & 2) != 0;
        settings.window_bits = own;
        settings.peer_window_bits = peer;
        all.push_back(settings);
      }
    }
  }
  size_t agreements = 0;
  for (const DeflateSettings& client : all) {
    const std::string offer = make_offer(client);
    for (const DeflateSettings& server : all) {
      DeflateParameters there;
      DeflateParameters here;
      std::string answer;
      if (!accept_offer(offer, server, there, answer) || !there.enabled) continue;
      if (!read_answer(answer, client, here)) continue;
      const bool same = here.own_takeover == there.peer_takeover &&
                        here.peer_takeover == there.own_takeover &&
                        here.own_window_bits == there.peer_window_bits &&
                        here.peer_window_bits == there.own_window_bits;
      if (same) agreements++;
    }
  }
  EXPECT(agreements == all.size() * all.size());
}

}  // namespace
}  // namespace millrace::ws
