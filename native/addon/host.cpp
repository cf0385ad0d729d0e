#include "addon/host.h"

#include "addon/environment.h"

namespace millrace::addon {
namespace {

// Peers that pipeline without end must not keep libuv from its timers and other sockets.
constexpr uint32_t kTurnBatchesMax = 4;

}  // namespace

Host::Host(Environment& environment, uint32_t number, std::unique_ptr<Server> server,
           Napi::Uint8Array batch, Napi::Function dispatch)
    : environment_(environment),
      env_(batch.Env()),
      number_(number),
      server_(std::move(server)),
      batch_(Napi::Persistent(batch)),
      batch_bytes_(reinterpret_cast<char*>(batch.Data()), batch.ByteLength()),
      dispatch_(Napi::Persistent(dispatch)) {
  napi_get_uv_event_loop(env_, &uv_);
  prepare_ = new uv_prepare_t();
  uv_prepare_init(uv_, prepare_);
  prepare_->data = this;
  uv_prepare_start(prepare_, &Host::on_prepare);
  uv_unref(reinterpret_cast<uv_handle_t*>(prepare_));
  idle_ = new uv_idle_t();
  uv_idle_init(uv_, idle_);
  idle_->data = this;
  uv_unref(reinterpret_cast<uv_handle_t*>(idle_));
  open_handles_ = 2;
  for (size_t i = 0; i < server_->loop_count(); i++) {
    Loop& loop = server_->loop(i);
    bridges_.push_back(std::make_unique<Bridge>(*this, loop, environment_.add_lane()));
    environment_.set_lane(bridges_.back()->number(), bridges_.back().get());
    if (!server_->is_inline()) add_doorbell(*bridges_.back());
  }
}

// --- start and wake ---

void Host::add_doorbell(Bridge& bridge) {
  napi_threadsafe_function doorbell = nullptr;
  napi_value name;
  napi_create_string_utf8(env_, "millrace", NAPI_AUTO_LENGTH, &name);
  auto finalized = [](napi_env, void* host, void*) { static_cast<Host*>(host)->handle_closed(); };
  napi_status status = napi_create_threadsafe_function(
      env_, nullptr, nullptr, name, 0, 1, this, finalized, &bridge, &Host::on_ring, &doorbell);
  MR_CHECK(status == napi_ok);
  open_handles_++;
  // Only the first keeps the process alive.
  if (!doorbells_.empty()) napi_unref_threadsafe_function(env_, doorbell);
  doorbells_.push_back(doorbell);
  bridge.set_doorbell(doorbell);
}

int Host::start() {
  // Registered after the thread-safe functions: hooks run last in, first out, so the threads are
  // joined while the functions they ring still exist.
  napi_add_async_cleanup_hook(env_, &Host::on_environment_end, this, &hook_);
  if (!server_->is_inline()) return -server_->start().error();
  inline_host_ = std::make_unique<InlineHost>();
  int error = inline_host_->start(*this, *bridges_[0], server_->loop(0));
  open_handles_ += inline_host_->handles();
  return error;
}

void Host::on_idle(uv_idle_t* idle) {
  uv_idle_stop(idle);
  auto* host = static_cast<Host*>(idle->data);
  for (auto& bridge : host->bridges_) {
    if (!host->released_ && bridge->has_events()) bridge->ring_doorbell();
  }
}

void Host::on_ring(napi_env env, napi_value, void* context, void*) {
  if (env == nullptr) return;  // the environment is ending
  auto* bridge = static_cast<Bridge*>(context);
  bridge->host().drain(*bridge, Entry::Nested);
}

// --- events to JavaScript ---

void Host::drain(Bridge& bridge, Entry entry) {
  if (released_) return;
  depth_++;
  Napi::HandleScope scope(env_);
  for (;;) {
    text_.clear();
    uint32_t count = bridge.gather(batch_bytes_, text_);
    if (count == 0) {
      if (entry == Entry::Outermost) break;
      bridge.lane().js_bell.fall_asleep();
      if (bridge.lane().events.is_empty()) break;
      bridge.lane().js_bell.stay_awake();
      continue;
    }
    bool alive = call_dispatch(count, entry);
    bridge.drop_bodies();
    if (!alive || released_) break;
    turn_batches_++;
    if (entry == Entry::Outermost) {
      bool enough = turn_batches_ >= kTurnBatchesMax;
      inline_host_->work(enough ? InlineHost::Events::WakeUs : InlineHost::Events::AreDrained);
      if (enough) break;
    } else {
      bridge.flush();
      if (bridge.has_events()) {
        if (turn_batches_ >= kTurnBatchesMax) {
          uv_idle_start(idle_, &Host::on_idle);
          break;
        }
        bridge.ring_doorbell();  // ticks, microtasks and other callbacks come before the next batch
        break;
      }
    }
  }
  depth_--;
  if (released_ && depth_ == 0) finish_release();
}

// False when JavaScript can't go on: the environment is ending. What a tick or microtask threw is
// the process's uncaught exception; where that is survived, the next batch comes as if nothing had
// happened.
bool Host::call_dispatch(uint32_t count, Entry entry) {
  Napi::HandleScope scope(env_);
  napi_value arguments[2];
  napi_value result;
  napi_value receiver;
  napi_value function = dispatch_.Value();
  napi_create_uint32(env_, count, &arguments[0]);
  napi_create_string_latin1(env_, text_.data(), text_.size(), &arguments[1]);
  napi_get_undefined(env_, &receiver);
  napi_status status = napi_ok;
  if (entry == Entry::Nested) {
    status = napi_call_function(env_, receiver, function, 2, arguments, &result);
  } else {
    napi_get_global(env_, &receiver);
    status = napi_make_callback(env_, nullptr, receiver, function, 2, arguments, &result);
  }
  if (status == napi_ok) return true;
  napi_value error;
  return status == napi_pending_exception &&
         napi_get_and_clear_last_exception(env_, &error) == napi_ok &&
         napi_fatal_exception(env_, error) == napi_ok;
}

// --- commands to the loops ---

void Host::note_unflushed() { unflushed_ = true; }

// Runs before libuv sleeps: answers that came after their batch leave together.
void Host::on_prepare(uv_prepare_t* prepare) {
  auto* host = static_cast<Host*>(prepare->data);
  host->turn_batches_ = 0;
  if (host->unflushed_) host->flush_all();
}

void Host::flush_all() {
  unflushed_ = false;
  if (released_) return;
  if (inline_host_ != nullptr) return inline_host_->work(InlineHost::Events::WakeUs);
  for (auto& bridge : bridges_) bridge->flush();
}

void Host::make_room(Bridge& bridge) {
  if (inline_host_ != nullptr) return inline_host_->work(InlineHost::Events::WakeUs);
  bridge.flush();
}

void Host::control(CommandKind kind, uint32_t wait_ms, uint32_t idle_ms, bool keeps_paths) {
  if (released_) return;
  if (keeps_paths) server_->keep_paths();
  if (kind == CommandKind::Close) server_->release_listeners();
  for (auto& bridge : bridges_) {
    Command* command = bridge->begin_command(0).command;
    command->kind = static_cast<uint16_t>(kind);
    command->amount = wait_ms;
    command->blob = idle_ms;
    bridge->end_command(command);
  }
}

void Host::reroute(const Router& router) {
  for (auto& bridge : bridges_) {
    Command* command = bridge->begin_command(0).command;
    command->kind = static_cast<uint16_t>(CommandKind::Reroute);
    command->blob = reinterpret_cast<uintptr_t>(&router);
    bridge->end_command(command);
  }
}

void Host::ref(bool alive) {
  if (released_) return;
  if (inline_host_ != nullptr) return inline_host_->ref(alive);
  if (alive) {
    napi_ref_threadsafe_function(env_, doorbells_[0]);
  } else {
    napi_unref_threadsafe_function(env_, doorbells_[0]);
  }
}

size_t Host::body_count() const {
  size_t count = 0;
  for (const auto& bridge : bridges_) count += bridge->body_count();
  return count;
}

// --- the end ---

void Host::release() {
  if (released_) return;
  released_ = true;
  server_->stop();  // no thread of ours runs from here on
  for (auto& bridge : bridges_) environment_.remove_lane(bridge->number());
  environment_.remove_host(number_);
  if (depth_ == 0) finish_release();
}

// The environment ends by process.exit(), worker.terminate() or because nothing keeps it alive. A
// dispatch may be on the stack below us (process.exit() in a handler); its frames are never
// returned to, or only after this.
void Host::on_environment_end(napi_async_cleanup_hook_handle, void* data) {
  auto* host = static_cast<Host*>(data);
  host->environment_ends_ = true;
  host->release();
  host->finish_release();
}

void Host::finish_release() {
  if (finished_) return;
  finished_ = true;
  for (napi_threadsafe_function doorbell : doorbells_) {
    napi_release_threadsafe_function(doorbell, napi_tsfn_abort);
  }
  if (inline_host_ != nullptr) inline_host_->close();
  uv_close(reinterpret_cast<uv_handle_t*>(idle_), [](uv_handle_t* handle) {
    auto* host = static_cast<Host*>(handle->data);
    delete reinterpret_cast<uv_idle_t*>(handle);
    host->handle_closed();
  });
  prepare_->data = this;
  uv_close(reinterpret_cast<uv_handle_t*>(prepare_), [](uv_handle_t* handle) {
    auto* host = static_cast<Host*>(handle->data);
    delete reinterpret_cast<uv_prepare_t*>(handle);
    host->handle_closed();
  });
  dispatch_.Reset();
  batch_.Reset();
}

void Host::handle_closed() {
  open_handles_--;
  delete_when_done();
}

void Host::delete_when_done() {
  if (open_handles_ > 0) return;
  napi_remove_async_cleanup_hook(hook_);
  // With a dispatch below us on the stack (process.exit() in a handler) the process is over; its
  // frames keep us.
  if (depth_ == 0) delete this;
}

}  // namespace millrace::addon
