#include "core/proto/files/encodings.h"

#include <algorithm>

namespace millrace::files {
namespace {

constexpr std::array<Bytes, kEncodingCount> kTokens = {"br", "zstd", "gzip", "identity"};
constexpr std::array<Bytes, kEncodingCount> kExtensions = {".br", ".zst", ".gz", ""};
constexpr size_t kIdentity = static_cast<size_t>(Encoding::Identity);
constexpr int kUnset = -1;
constexpr int kWeightMax = 1000;  // thousandths

// RFC 9110 12.4.2 qvalue in thousandths; kUnset when malformed.
int parse_qvalue(Bytes text) {
  if (text.empty() || text.size() > 5 || (text[0] != '0' && text[0] != '1')) return kUnset;
  if (text.size() > 1 && text[1] != '.') return kUnset;
  int value = text[0] == '1' ? kWeightMax : 0;
  int place = 100;
  for (size_t i = 2; i < text.size(); i++, place /= 10) {
    if (text[i] < '0' || text[i] > '9') return kUnset;
    value += (text[i] - '0') * place;
  }
  return value <= kWeightMax ? value : kUnset;
}

// The weight of a member, and its coding in `coding`; kUnset when malformed.
int read_member(Bytes member, Bytes& coding) {
  const size_t semicolon = member.find(';');
  coding = trim_ows(member.substr(0, semicolon));
  if (!is_token(coding)) return kUnset;
  if (semicolon == Bytes::npos) return kWeightMax;
  const Bytes weight = trim_ows(member.substr(semicolon + 1));
  if (!equals_folded(weight.substr(0, 2), "q=")) return kUnset;
  return parse_qvalue(weight.substr(2));
}

size_t index_of(Bytes coding) {
  if (equals_folded(coding, "x-gzip")) return static_cast<size_t>(Encoding::Gzip);
  size_t index = 0;
  while (index < kTokens.size() && !equals_folded(coding, kTokens[index])) index++;
  return index;
}

void set_once(int& weight, int value) {
  if (weight == kUnset) weight = value;
}

}  // namespace

Bytes encoding_token(Encoding encoding) { return kTokens[static_cast<size_t>(encoding)]; }
Bytes encoding_extension(Encoding encoding) { return kExtensions[static_cast<size_t>(encoding)]; }

bool EncodingOrder::has(Encoding encoding) const {
  return std::find(span().begin(), span().end(), encoding) != span().end();
}

EncodingOrder encoding_order(Bytes accept_encoding) {
  std::array<int, kEncodingCount> weights;
  weights.fill(kUnset);
  int others = kUnset;  // "*"
  for (Bytes rest = accept_encoding; !rest.empty();) {
    const size_t comma = std::min(rest.find(','), rest.size());
    Bytes coding;
    const int weight = read_member(trim_ows(rest.substr(0, comma)), coding);
    rest.remove_prefix(std::min(comma + 1, rest.size()));
    if (weight == kUnset) continue;
    const size_t index = index_of(coding);
    if (coding == "*") {
      set_once(others, weight);
    } else if (index < weights.size()) {
      set_once(weights[index], weight);
    }
  }
  for (int& weight : weights) set_once(weight, others);

  EncodingOrder order;
  for (size_t i = 0; i < weights.size(); i++) {
    if (weights[i] > 0) order.encodings[order.count++] = static_cast<Encoding>(i);
  }
  std::sort(order.encodings.begin(), order.encodings.begin() + order.count,
            [&weights](Encoding one, Encoding other) {
              const int mine = weights[static_cast<size_t>(one)];
              const int theirs = weights[static_cast<size_t>(other)];
              return mine != theirs ? mine > theirs : one < other;
            });
  if (weights[kIdentity] == kUnset) order.encodings[order.count++] = Encoding::Identity;
  return order;
}

}  // namespace millrace::files
