#include "core/proto/http1/access.h"

#include <algorithm>
#include <utility>

#include "core/base/bytes.h"
#include "core/proto/http1/head.h"

namespace millrace::http1 {
namespace {

constexpr std::array<Bytes, 11> kNames = {
    "forwarded",        "x-forwarded-for",  "x-real-ip",  "x-forwarded-proto",
    "x-forwarded-host", "x-forwarded-port", "user-agent", "referer",
    "traceparent",      "x-request-id",     "remote_addr"};
constexpr size_t kHopNames = 6;                // the first of them: who the client is, hop by hop
constexpr size_t kHopLists = 2;                // of them: each hop adds to it
constexpr size_t kClient = kNames.size() - 1;  // no field, what a gateway says
constexpr size_t kNone = kNames.size();
// Of each, so that none can take another's place. Of the last three only counts that they came.
constexpr std::array<uint8_t, kHopNames> kHopFields = {8, 8, 2, 1, 1, 1};
constexpr uint32_t kHopFieldsMax = 21;
constexpr uint32_t kOtherFieldsMax = 8;

size_t place_of(Bytes name) {
  for (size_t place = 0; place < kClient; place++) {
    if (equals_folded(name, kNames[place])) return place;
  }
  return kNone;
}

Bytes cut(Bytes text) { return text.substr(0, kAccessTextMax); }

// Of a list that each hop has added to, the end: what the client wrote itself is at the beginning.
Bytes cut_hops(Bytes text) {
  if (text.size() <= kAccessTextMax) return text;
  text.remove_prefix(text.size() - kAccessTextMax);
  const size_t comma = text.find(',');
  return comma == Bytes::npos ? Bytes() : text.substr(comma + 1);
}

// By name: the fields from here on are those of the hops that are nearest.
std::array<uint32_t, kHopNames> first_hop_fields(const RequestHead& head) {
  std::array<uint32_t, kHopNames> first{};
  first.fill(head.header_count);
  std::array<uint8_t, kHopNames> counts{};
  for (uint32_t i = head.header_count; i > 0; i--) {
    const size_t name = place_of(head.headers[i - 1].name);
    if (name >= kHopNames || counts[name] == kHopFields[name]) continue;
    counts[name]++;
    first[name] = i - 1;
  }
  return first;
}

}  // namespace

AccessEntry::AccessEntry(const RequestHead& head, Bytes client, Milliseconds since, Sink& sink)
    : since_(since), began_(sink.wall_clock_ms() - static_cast<double>(sink.now() - since)) {
  if (head.method.empty()) return;
  Bytes target = cut(head.target);
  if (head.minor_version == 0) flags = kEventHttp10;
  method_length_ = head.method.size();
  target_length_ = target.size();
  text_.append(head.method).append(target);
  if (is_field_value(client) && !client.empty()) keep(kClient, cut(client));
  keep_fields(head);
}

void AccessEntry::keep_fields(const RequestHead& head) {
  static_assert(kFieldsMax == 1 + kHopFieldsMax + kOtherFieldsMax);
  const std::array<uint32_t, kHopNames> first_hop = first_hop_fields(head);
  uint32_t others = 0;
  for (uint32_t i = 0; i < head.header_count; i++) {
    const HeaderField& field = head.headers[i];
    const size_t name = place_of(field.name);
    if (name < kHopNames) {
      if (i >= first_hop[name])
        keep(name, name < kHopLists ? cut_hops(field.value) : cut(field.value));
    } else if (name != kNone && others < kOtherFieldsMax) {
      others++;
      keep(name, cut(field.value));
    }
  }
}

void AccessEntry::keep(size_t name, Bytes value) {
  fields_[field_count_++] = {static_cast<uint8_t>(name), static_cast<uint16_t>(value.size())};
  text_.append(value);
}

void AccessEntry::log(bool is_whole, Sink& sink) const {
  std::array<HeaderField, kFieldsMax> fields;
  Bytes text = text_;
  auto next = [&text](size_t length) {
    Bytes part = text.substr(0, length);
    text.remove_prefix(length);
    return part;
  };
  AccessLine line;
  line.method = next(method_length_);
  line.target = next(target_length_);
  for (uint32_t i = 0; i < field_count_; i++)
    fields[i] = {kNames[fields_[i].name], next(fields_[i].length)};
  line.headers = fields.data();
  line.header_count = field_count_;
  line.exchange = exchange;
  line.route = route;
  line.status = status;
  line.flags = static_cast<uint16_t>(flags | (is_whole ? 0 : kEventAborted));
  line.figures.began = began_;
  line.figures.duration_ms = static_cast<double>(sink.now() - since_);
  line.figures.queue_ms = queue_ms;
  line.figures.bytes_in = static_cast<double>(bytes_in);
  line.figures.bytes_out = static_cast<double>(bytes_out);
  sink.log_access(line);
}

void AccessLines::all_left(Sink& sink) {
  for (const auto& entry : entries_) entry->log(true, sink);
  entries_.clear();
}

void AccessLines::all_lost(uint64_t unsent, Sink& sink) {
  size_t whole = entries_.size();
  for (; whole > 0 && unsent > 0; whole--) unsent = take_back(*entries_[whole - 1], unsent);
  for (size_t i = 0; i < entries_.size(); i++) entries_[i]->log(i < whole, sink);
  entries_.clear();
}

uint64_t take_back(AccessEntry& entry, uint64_t unsent) {
  uint64_t taken = std::min(entry.bytes_out, unsent);
  entry.bytes_out -= taken;
  return unsent - taken;
}

}  // namespace millrace::http1
