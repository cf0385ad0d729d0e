// WsLink: one WebSocket of a client: frames in and out of buffers, pings answered, messages put
// together and expanded. Does no input and output of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "bench/ws_deflate.h"
#include "bench/ws_frame.h"
#include "bench/ws_handshake.h"

namespace millrace::bench {

inline constexpr size_t kMessageMax = size_t{1} << 26;

// Of all links.
struct WsTools {
  std::unique_ptr<Deflater> deflater;  // for links without context takeover
  std::unique_ptr<Inflater> inflater;
  uint32_t seed = 0x2545f491;
  size_t expanded_max = 0;

  // A mask need not be good here, only never the same.
  [[nodiscard]] uint32_t next_mask() {
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed;
  }
};

class WsLink final {
 public:
  int fd = -1;                  // -1: broken and closed
  bool waits_for_room = false;  // EPOLLOUT is watched
  std::string output;           // frames, and
  size_t output_sent = 0;       // how much of them is written

  void begin(int descriptor, const WsExtension& extension, std::string rest) {
    fd = descriptor;
    extension_ = extension;
    input_ = std::move(rest);
  }

  void send(Opcode opcode, std::string_view message, WsTools& tools) {
    bool compresses = extension_.is_on && opcode != Opcode::Pong;
    if (compresses) message = compress(message, tools);
    append_frame(output, opcode, compresses, message, tools.next_mask());
  }

  // Calls on_message(message, was_compressed) for each that is whole. False: the server broke the
  // protocol, as error() says, or closed.
  template <typename OnMessage>
  [[nodiscard]] bool receive(std::string_view bytes, WsTools& tools, OnMessage&& on_message) {
    if (!input_.empty()) {
      input_.append(bytes);
      bytes = input_;
    }
    size_t used = 0;
    for (;;) {
      WsFrame frame = read_frame(bytes.substr(used));
      error_ = frame.error;
      if (error_ != nullptr) return false;
      if (frame.total == 0) break;
      used += frame.total;
      if (!take(frame, tools, on_message)) return false;
    }
    std::string rest(bytes.substr(used));
    input_.swap(rest);
    return true;
  }

  // Null after the server's close frame.
  [[nodiscard]] const char* error() const { return error_; }

 private:
  template <typename OnMessage>
  [[nodiscard]] bool take(const WsFrame& frame, WsTools& tools, OnMessage&& on_message) {
    if (frame.opcode == Opcode::Close) return false;
    if (frame.opcode == Opcode::Ping) send(Opcode::Pong, frame.payload, tools);
    if (frame.opcode == Opcode::Ping || frame.opcode == Opcode::Pong) return true;
    bool goes_on = frame.opcode == Opcode::Continuation;
    if (goes_on != is_in_message_) return broken("a message begins within a message, or nowhere");
    if (frame.is_compressed && (goes_on || !extension_.is_on))
      return broken("compression that was not agreed on");
    if (!goes_on) is_compressed_ = frame.is_compressed;
    std::string_view message = frame.payload;
    is_in_message_ = !frame.is_last;
    if (goes_on || is_in_message_) {
      parts_.append(message);
      if (is_in_message_) return true;
      message = parts_;
    }
    if (is_compressed_ && !expand(message, tools)) return broken("what is not deflated");
    on_message(message, is_compressed_);
    parts_.clear();
    return true;
  }

  [[nodiscard]] bool broken(const char* what) {
    error_ = what;
    return false;
  }

  // With context takeover each link has its own streams, else all share one that forgets.
  [[nodiscard]] std::string_view compress(std::string_view message, WsTools& tools) {
    auto& deflater = extension_.we_forget ? tools.deflater : deflater_;
    if (!deflater) deflater = std::make_unique<Deflater>(extension_.window_bits);
    return deflater->compress(message, extension_.we_forget);
  }
  [[nodiscard]] bool expand(std::string_view& message, WsTools& tools) {
    auto& inflater = extension_.they_forget ? tools.inflater : inflater_;
    if (!inflater) inflater = std::make_unique<Inflater>(tools.expanded_max);
    return inflater->expand(message, extension_.they_forget, message);
  }

  WsExtension extension_;
  std::string input_;  // the beginning of a frame
  std::string parts_;  // frames of a message that goes on
  bool is_in_message_ = false;
  bool is_compressed_ = false;
  const char* error_ = nullptr;
  std::unique_ptr<Deflater> deflater_;
  std::unique_ptr<Inflater> inflater_;
};

}  // namespace millrace::bench
