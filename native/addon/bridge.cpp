#include "addon/bridge.h"

#include <sched.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "addon/host.h"

namespace millrace::addon {
namespace {

constexpr uint32_t kEventsPerBatch = 512;
constexpr size_t kTextPerBatch = 256 * 1024;
constexpr size_t kCopiedBodyMax = 1024 * 1024;

bool is_blob(const Event& event) { return (event.flags & kEventBodyIsBlob) != 0; }

}  // namespace

void Bridge::set_doorbell(napi_threadsafe_function doorbell) {
  doorbell_ = doorbell;
  lane_.js_bell.set_wake([](void* bridge) { static_cast<Bridge*>(bridge)->ring_doorbell(); }, this);
  lane_.js_bell.fall_asleep();
}

void Bridge::ring_doorbell() {
  napi_call_threadsafe_function(doorbell_, nullptr, napi_tsfn_nonblocking);
}

uint32_t Bridge::gather(MutableBytes batch, std::string& text) {
  uint32_t count = 0;
  uint32_t requests = 0;
  uint32_t now = 0;
  size_t offset = 0;
  while (char* record = lane_.events.front()) {
    const auto& event = *reinterpret_cast<const Event*>(record);
    size_t inline_body = is_blob(event) ? 0 : event.body_length;
    size_t size = Ring::rounded(sizeof(Event) + event.param_count * 4u + inline_body);
    uint32_t text_length = event_text_length(event);
    bool fits = offset + size <= batch.size() && text.size() + text_length <= kTextPerBatch;
    if (count > 0 && (!fits || count == kEventsPerBatch)) break;
    if (event.kind == static_cast<uint16_t>(EventKind::Request)) {
      // One look at the clock per batch: that of the loop, which queued_at is of.
      if (requests++ == 0) now = static_cast<uint32_t>(loop_.poller().now());
      measure(event, now);
    }
    copy_event(event, batch.data() + offset, size, text);
    offset += size;
    count++;
    lane_.events.pop(event.size);
  }
  if (count > 0) lane_.events_taken();
  lane_.queue.add_batch(requests);
  return count;
}

void Bridge::measure(const Event& event, uint32_t now) {
  auto delay = static_cast<int32_t>(now - event.queued_at);
  lane_.queue.add_delay(delay);
  if (lane_.meters.keeps_delays())
    lane_.meters.set_delay(event.exchange, static_cast<uint32_t>(std::max(delay, 0)));
}

void Bridge::copy_event(const Event& event, char* out, size_t size, std::string& text) {
  const char* bytes = reinterpret_cast<const char*>(&event);
  size_t fixed = sizeof(Event) + event.param_count * 4u;
  std::memcpy(out, bytes, fixed);
  uint32_t text_length = event_text_length(event);
  text.append(bytes + fixed, text_length);
  auto* copy = reinterpret_cast<Event*>(out);
  copy->size = static_cast<uint32_t>(size);
  uint32_t slot = event.exchange.is_valid() ? event.exchange.slot : 0;
  copy->exchange.slot = slot | (number_ << kSlotBits);
  bool is_client = event.kind == static_cast<uint16_t>(EventKind::Opened) && event.head_a != 0;
  if (is_client) begin_queue(event.exchange);
  if (is_blob(event)) {
    copy->blob = (number_ << kSlotBits) | static_cast<uint32_t>(bodies_.size());
    bodies_.push_back(lane_.take_blob(event));
  } else if (event.body_length > 0) {
    std::memcpy(out + fixed, bytes + fixed + text_length, event.body_length);
  }
}

Napi::Value Bridge::take_body(Napi::Env env, uint32_t index) {
  if (index >= bodies_.size()) return env.Undefined();
  Blob body = std::move(bodies_[index]);
  size_t size = body.size();
  // V8 frees memory of its own sooner and cheaper than foreign memory, whose owner it has to call:
  // up to here a copy costs less.
  if (size <= kCopiedBodyMax) return Napi::Buffer<char>::Copy(env, body.data(), size);
  // Handed over as it is; where the engine forbids foreign memory, a copy.
  return Napi::Buffer<char>::NewOrCopy(env, body.release(), size,
                                       [](Napi::Env, char* data) { std::free(data); });
}

napi_value Bridge::take_text(napi_env env, uint32_t index, bool is_ascii) {
  napi_value text = nullptr;
  if (index >= bodies_.size()) return text;
  Blob body = std::move(bodies_[index]);
  napi_status status = is_ascii ? napi_create_string_latin1(env, body.data(), body.size(), &text)
                                : napi_create_string_utf8(env, body.data(), body.size(), &text);
  return status == napi_ok ? text : nullptr;
}

// Zeroed memory of the system costs nothing before it is touched.
void Bridge::begin_queue(ExchangeId id) {
  if (queues_ == nullptr) {
    queues_ = static_cast<Queue*>(std::calloc(Meters::kSlots, sizeof(Queue)));
    MR_CHECK(queues_ != nullptr);
  }
  queues_[id.slot] = {id.generation + 1, lane_.meters.taken(id.slot)};
}

uint64_t Bridge::waiting(ExchangeId id) const {
  if (!is_queue_of(id)) return 0;
  uint32_t untaken = queues_[id.slot].bytes - lane_.meters.taken(id.slot);
  return uint64_t{untaken} + lane_.meters.waiting(id.slot);
}

Bridge::Fullness Bridge::judge_queue(ExchangeId id, uint64_t limit) {
  while (waiting(id) > limit) {
    // The loop shows more than that only after it has offered it to the kernel.
    if (lane_.meters.waiting(id.slot) > limit) return Fullness::IsFull;
    // It counts for no socket any more, and we have not heard so yet.
    if (lane_.commands.is_consumed() && waiting(id) > limit)
      return lane_.meters.waiting(id.slot) > limit ? Fullness::IsFull : Fullness::IsOver;
    let_loop_take();
  }
  return Fullness::HasRoom;
}

// Back-pressure: the loop never waits for us, so it takes commands within a turn.
void Bridge::let_loop_take() {
  unflushed_ = true;
  host_.make_room(*this);
  sched_yield();
}

Bridge::Room Bridge::begin_command(size_t content_size) {
  size_t size = sizeof(Command) + content_size;
  char* record = lane_.commands.reserve(size);
  while (record == nullptr) {
    let_loop_take();
    record = lane_.commands.reserve(size);
  }
  auto* command = new (record) Command();
  return {command, record + sizeof(Command)};
}

void Bridge::end_command(Command* command) {
  size_t inline_body = (command->flags & kCommandBodyIsBlob) != 0 ? 0 : command->body_length;
  size_t size = Ring::rounded(sizeof(Command) + command->header_length + inline_body);
  command->size = static_cast<uint32_t>(size);
  lane_.commands.commit(size);
  unflushed_ = true;
  host_.note_unflushed();
}

void Bridge::flush() {
  if (!unflushed_) return;
  unflushed_ = false;
  lane_.loop_bell.ring();
}

}  // namespace millrace::addon
