#include "core/proto/files/conditions.h"

#include "core/base/http_date.h"

namespace millrace::files {
namespace {

// RFC 9110 13.1.5: a tag shows itself by a quote among the first three bytes.
bool holds_if_range(Bytes if_range, const Representation& representation, UnixSeconds now) {
  if (if_range.substr(0, 3).find('"') != Bytes::npos) {
    return tags_are_equal(if_range, representation.tag_text(), TagComparison::Strong);
  }
  const UnixSeconds date = parse_http_date(if_range, now);
  return date != kNoDate && date == modified_at(representation.mtime_ns) &&
         is_settled(representation.mtime_ns, now);
}

// Steps 1 and 2 of RFC 9110 13.2.2. A malformed date is no condition.
bool may_proceed(const Conditions& conditions, const Representation& representation,
                 UnixSeconds now) {
  if (!conditions.if_match.empty()) {
    return tag_list_has(conditions.if_match, representation.tag_text(), TagComparison::Strong);
  }
  if (conditions.if_unmodified_since.empty()) return true;
  const UnixSeconds date = parse_http_date(conditions.if_unmodified_since, now);
  return date == kNoDate || modified_at(representation.mtime_ns) <= date;
}

// Step 4.
bool is_unmodified(Bytes if_modified_since, const Representation& representation, UnixSeconds now) {
  if (if_modified_since.empty()) return false;
  const UnixSeconds date = parse_http_date(if_modified_since, now);
  return date != kNoDate && modified_at(representation.mtime_ns) <= date;
}

}  // namespace

uint16_t verdict_status(Verdict verdict) {
  switch (verdict) {
    case Verdict::NotModified: return 304;
    case Verdict::PreconditionFailed: return 412;
    case Verdict::Partial: return 206;
    case Verdict::NotSatisfiable: return 416;
    case Verdict::Send: break;
  }
  return 200;
}

Decision evaluate(const Conditions& conditions, const Representation& representation, Method method,
                  UnixSeconds now) {
  const bool reads = method == Method::Get || method == Method::Head;
  if (!may_proceed(conditions, representation, now)) return {Verdict::PreconditionFailed, {}};
  if (!conditions.if_none_match.empty()) {  // step 3; step 4 is then skipped whatever it holds
    if (tag_list_has(conditions.if_none_match, representation.tag_text(), TagComparison::Weak)) {
      return {reads ? Verdict::NotModified : Verdict::PreconditionFailed, {}};
    }
  } else if (reads && is_unmodified(conditions.if_modified_since, representation, now)) {
    return {Verdict::NotModified, {}};
  }
  if (method != Method::Get || conditions.range.empty()) return {};
  if (!conditions.if_range.empty() && !holds_if_range(conditions.if_range, representation, now)) {
    return {};
  }
  Decision decision;
  switch (parse_ranges(conditions.range, representation.size, decision.ranges)) {
    case RangeVerdict::Whole: decision.verdict = Verdict::Send; break;
    case RangeVerdict::Partial: decision.verdict = Verdict::Partial; break;
    case RangeVerdict::NotSatisfiable: decision.verdict = Verdict::NotSatisfiable; break;
  }
  return decision;
}

}  // namespace millrace::files
