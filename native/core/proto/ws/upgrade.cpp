#include "core/proto/ws/upgrade.h"

#include <array>
#include <string>
#include <utility>

#include "core/proto/ws/extension.h"
#include "core/proto/ws/handshake.h"
#include "core/proto/ws/session.h"

namespace millrace::ws {
namespace {

class WsUpgrade final : public Upgrade {
 public:
  WsUpgrade(std::array<char, 28> accept, std::string offers)
      : accept_(accept), offers_(std::move(offers)) {}

  [[nodiscard]] std::unique_ptr<Session> accept(ExchangeId id, const SocketSettings& settings,
                                                std::string& lines) override {
    lines.append("Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ");
    lines.append(accept_.data(), accept_.size()).append("\r\n");
    SessionOptions options{.id = id, .settings = settings, .deflate = {}};
    std::string answer;
    if (settings.deflate.enabled && zlib() != nullptr &&
        accept_offer(offers_, settings.deflate, options.deflate, answer) && !answer.empty()) {
      lines.append("Sec-WebSocket-Extensions: ").append(answer).append("\r\n");
    }
    return std::make_unique<WsSession>(options);
  }

 private:
  std::array<char, 28> accept_;
  std::string offers_;
};

}  // namespace

std::unique_ptr<Upgrade> read_upgrade(const RequestHead& head, ErrorCode& error) {
  ClientHandshake handshake;
  error = read_client_handshake(head, handshake);
  if (error != ErrorCode::None) return nullptr;
  return std::make_unique<WsUpgrade>(accept_of(handshake.key), std::move(handshake.extensions));
}

}  // namespace millrace::ws
