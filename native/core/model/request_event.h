// Writes a request into an event record: the one place that knows the text layout of model/event.h.
// Shared by every protocol that speaks of requests.
#pragma once

#include "core/model/address.h"
#include "core/model/event.h"
#include "core/model/head.h"
#include "core/model/route.h"

namespace millrace {

struct RequestText {
  const RequestHead& head;
  const RouteMatch& match;
  uint32_t path_length;
  Bytes peer;
  Bytes variables = {};  // of a request by SCGI, never empty then
};

// Header fields in the form that events have them: names in lower case, "\nname\0value\n…".
[[nodiscard]] size_t fields_text_size(const HeaderField* fields, uint32_t count);
char* write_fields_text(const HeaderField* fields, uint32_t count, char* out);

// Bytes of the record without a body.
[[nodiscard]] size_t request_event_size(const RequestText& text);
// Fills fixed part, parameters and text; `event` has request_event_size() bytes. Leaves exchange,
// flags and body. Returns where an inline body goes.
char* fill_request_event(const RequestText& text, Event& event);

}  // namespace millrace
