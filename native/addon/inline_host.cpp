#include "addon/inline_host.h"

#include <memory>

#include "addon/host.h"

namespace millrace::addon {

int InlineHost::start(Host& host, Bridge& bridge, Loop& loop) {
  host_ = &host;
  bridge_ = &bridge;
  loop_ = &loop;
  timer_ = new uv_timer_t();
  uv_timer_init(host.uv(), timer_);
  timer_->data = this;
  uv_unref(reinterpret_cast<uv_handle_t*>(timer_));
  idle_ = new uv_idle_t();
  uv_idle_init(host.uv(), idle_);
  idle_->data = this;
  uv_unref(reinterpret_cast<uv_handle_t*>(idle_));
  auto poll = std::make_unique<uv_poll_t>();
  int error = uv_poll_init(host.uv(), poll.get(), loop.poller().descriptor());
  if (error != 0) return error;
  poll_ = poll.release();
  poll_->data = this;
  error = uv_poll_start(poll_, UV_READABLE, &InlineHost::on_readable);
  if (error == 0) work(Events::WakeUs);
  return error;
}

void InlineHost::on_readable(uv_poll_t* handle, int, int) {
  static_cast<InlineHost*>(handle->data)->turn();
}
void InlineHost::on_timer(uv_timer_t* handle) { static_cast<InlineHost*>(handle->data)->turn(); }

void InlineHost::turn() {
  if (closed_) return;
  {
    RoleScope role(loop_thread);
    loop_->poll(0);
  }
  work(Events::AreDrained);
  if (!bridge_->has_events()) return;
  host_->drain(*bridge_, Host::Entry::Outermost);  // may close us
}

void InlineHost::work(Events events) {
  if (closed_) return;
  RoleScope role(loop_thread);
  Milliseconds at_most = loop_->work();
  if (events == Events::WakeUs && bridge_->has_events()) at_most = 0;
  if (at_most == 0) {
    uv_idle_start(idle_, [](uv_idle_t* handle) {
      uv_idle_stop(handle);
      static_cast<InlineHost*>(handle->data)->turn();
    });
  }
  if (at_most == kNever || at_most == 0) {
    uv_timer_stop(timer_);
  } else {
    uv_timer_start(timer_, &InlineHost::on_timer, static_cast<uint64_t>(at_most), 0);
  }
}

void InlineHost::ref(bool alive) {
  if (closed_) return;
  auto* handle = reinterpret_cast<uv_handle_t*>(poll_);
  if (alive) {
    uv_ref(handle);
  } else {
    uv_unref(handle);
  }
}

void InlineHost::close() {
  closed_ = true;
  if (poll_ != nullptr) {
    poll_->data = host_;
    uv_close(reinterpret_cast<uv_handle_t*>(poll_), [](uv_handle_t* handle) {
      auto* host = static_cast<Host*>(handle->data);
      delete reinterpret_cast<uv_poll_t*>(handle);
      host->handle_closed();
    });
  }
  idle_->data = host_;
  uv_close(reinterpret_cast<uv_handle_t*>(idle_), [](uv_handle_t* handle) {
    auto* host = static_cast<Host*>(handle->data);
    delete reinterpret_cast<uv_idle_t*>(handle);
    host->handle_closed();
  });
  timer_->data = host_;
  uv_close(reinterpret_cast<uv_handle_t*>(timer_), [](uv_handle_t* handle) {
    auto* host = static_cast<Host*>(handle->data);
    delete reinterpret_cast<uv_timer_t*>(handle);
    host->handle_closed();
  });
}

}  // namespace millrace::addon
