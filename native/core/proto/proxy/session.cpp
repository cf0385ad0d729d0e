#include "core/proto/proxy/session.h"

#include <utility>

#include "core/base/check.h"
#include "core/proto/proxy/header.h"

namespace millrace::proxy {
namespace {

class ProxySession final : public Session {
 public:
  ProxySession(ProxyMode mode, std::unique_ptr<Session> inner)
      : mode_(mode), inner_(std::move(inner)) {}

  [[nodiscard]] size_t receive(MutableBytes unread, Sink& sink) override;
  void command(const Command&, Sink&) override { MR_CHECK(false); }  // it opens no exchange
  void peer_closed(Sink& sink) override { end(CloseCause::ClosedByClient, sink); }
  void deadline(Sink& sink) override;
  void flushed(Sink&) override {}
  void drain(Sink& sink) override { end(CloseCause::Drained, sink); }
  [[nodiscard]] bool disk_done(std::unique_ptr<DiskWork>&, Sink&) override { return false; }
  void gone(Sink&) override { is_over_ = true; }

 private:
  void go_on(Sink& sink);
  void end(CloseCause cause, Sink& sink);

  const ProxyMode mode_;
  std::unique_ptr<Session> inner_;
  bool started_ = false;
  bool is_over_ = false;
};

size_t ProxySession::receive(MutableBytes unread, Sink& sink) {
  if (is_over_) return unread.size();
  if (!std::exchange(started_, true)) {
    // For the whole header, however slowly it comes.
    Milliseconds timeout = sink.limits().headers_timeout;
    sink.set_deadline(timeout == 0 ? kNever : sink.now() + timeout);
  }
  Bytes input(unread.data(), unread.size());
  if (input.empty()) return 0;
  if (mode_ == ProxyMode::Accept && signature_of(input) == Signature::None) {
    go_on(sink);
    return 0;
  }
  HeaderView header;
  int parsed = parse_header(input, static_cast<size_t>(sink.limits().proxy_bytes_max), header);
  if (parsed == kNeedMore) return 0;
  if (parsed == kBroken) {
    // Without an answer: who speaks no PROXY protocol is not known to speak anything else.
    is_over_ = true;
    sink.count_refusal(ErrorCode::BadProxyHeader);
    sink.abort(CloseCause::ProtocolViolated);
    return unread.size();
  }
  sink.take_proxy_header({.version = header.version,
                          .is_local = header.is_local,
                          .source = header.source,
                          .destination = header.destination,
                          .tlvs = std::string(header.tlvs)});
  go_on(sink);
  return static_cast<size_t>(parsed);
}

// The deadline was for the header and ends with it; the other session has its own.
void ProxySession::go_on(Sink& sink) {
  is_over_ = true;
  sink.become(std::move(inner_));
}

void ProxySession::deadline(Sink& sink) {
  if (is_over_) return;
  sink.count_refusal(ErrorCode::HeadersTimeout);
  end(CloseCause::TimedOut, sink);
}

void ProxySession::end(CloseCause cause, Sink& sink) {
  if (std::exchange(is_over_, true)) return;
  sink.finish(cause);
}

}  // namespace

std::unique_ptr<Session> make_session(ProxyMode mode, std::unique_ptr<Session> inner) {
  return std::make_unique<ProxySession>(mode, std::move(inner));
}

}  // namespace millrace::proxy
