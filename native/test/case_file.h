// Reads test/cases/*.case: wire transcripts that run against the session alone, the loop over sim
// and (by test/cases.test.ts) real sockets. One step per line:
//   case: TITLE · level: 1 2 3 · limits: NAME=VALUE … · route: METHOD PATTERN KIND [max=N]
//   protocol: scgi (else http): answers and refusals are in CGI's form
//   > BYTES        from the peer; a further > belongs to the same read, |> begins the next one
//   half-close · reset · drain · stop · advance: N ms · window: N (bytes the peer takes)
//   event: request METHOD TARGET [HTTP/1.0] · event: header NAME "VALUE" · event: body "BYTES"
//   event: aborted · event: peer-closed · event: variable NAME "VALUE" (of SCGI)
//   Of the newest request or #N, on a route of kind stream: read: [#N] BYTES (of credit)
//   event: [#N] chunks "BYTES" (all that came since the last look) · event: [#N] body-end
//   event: [#N] trailer NAME "VALUE" (of it) · event: [#N] body-failed ERROR_CODE
//   reply: [#N] STATUS "BODY" [HEADER LINES] · inform: [#N] STATUS [HEADER LINES] · cut: [#N]
//   begin: [#N] STATUS [HEADER LINES] · write: [#N] "BYTES" · end: [#N] [TRAILER LINES]
//   event: [#N] written BYTES (all that were said to have left since the last look)
//   < BYTES        on the wire, the Date masked as *; <? BYTES that may be there
//   answered: STATUS "BODY" [HEADER LINES] · refused: STATUS ERROR_CODE
//   open · closed (half-closed by the server, or more) · over (gone) · lingers · quiet
// Escapes: \r \n \t \0 \\ \" \{ \xNN, and {TEXT*N} for a repetition. A # begins a comment line.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/model/limits.h"
#include "core/route/router.h"

namespace millrace::test {

enum class StepKind : uint8_t {
  Send,
  HalfClose,
  Reset,
  Drain,
  Stop,
  Advance,
  Window,
  Request,
  Header,
  Body,
  Variable,
  Aborted,
  PeerClosed,
  Read,
  Chunks,
  BodyEnd,
  Trailer,
  BodyFailed,
  Written,
  Begin,
  Write,
  End,
  Reply,
  Inform,
  Cut,
  Expect,
  ExpectMaybe,
  Answered,
  Refused,
  Open,
  Closed,
  Over,
  Lingers,
  Quiet,
};

struct Step {
  StepKind kind = StepKind::Quiet;
  int line = 0;
  std::vector<std::string> reads;  // Send
  std::string name;                // method, header name, error code
  std::string text;                // bytes, target, value, body
  std::string headers;             // header lines of an answer
  int64_t amount = 0;              // status, milliseconds, window
  uint32_t number = 0;             // which request is answered; 0: the oldest without an answer
  bool http10 = false;
};

struct CaseScript {
  std::string title;
  std::string file;
  int line = 0;
  unsigned levels = 7;  // bit 0: session, 1: loop, 2: sockets
  std::string protocol = "http";
  Limits limits;
  std::vector<RouteRow> routes;  // none: one handler takes everything
  std::vector<Step> steps;

  [[nodiscard]] bool runs_at(unsigned level) const { return (levels & (1u << (level - 1))) != 0; }
};

// Appends the cases of a file; false with `error` ("file:line: what") when it cannot be read.
[[nodiscard]] bool read_cases(const std::string& path, std::vector<CaseScript>& cases,
                              std::string& error);

}  // namespace millrace::test
