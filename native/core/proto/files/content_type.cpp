#include "core/proto/files/content_type.h"

#include <algorithm>
#include <array>

namespace millrace::files {
namespace {

struct TypeRow {
  Bytes extension;
  Bytes type;
};

// By extension, ascending. "ts" is the stream, as everywhere; TypeScript is not for browsers.
constexpr std::array kTypes = {
    TypeRow{"3g2", "video/3gpp2"},
    TypeRow{"3gp", "video/3gpp"},
    TypeRow{"7z", "application/x-7z-compressed"},
    TypeRow{"aac", "audio/aac"},
    TypeRow{"ai", "application/postscript"},
    TypeRow{"aif", "audio/x-aiff"},
    TypeRow{"aiff", "audio/x-aiff"},
    TypeRow{"amr", "audio/amr"},
    TypeRow{"apk", "application/vnd.android.package-archive"},
    TypeRow{"apng", "image/apng"},
    TypeRow{"asc", "text/plain; charset=utf-8"},
    TypeRow{"atom", "application/atom+xml"},
    TypeRow{"avi", "video/x-msvideo"},
    TypeRow{"avif", "image/avif"},
    TypeRow{"bin", "application/octet-stream"},
    TypeRow{"bmp", "image/bmp"},
    TypeRow{"br", "application/x-brotli"},
    TypeRow{"bz2", "application/x-bzip2"},
    TypeRow{"cbor", "application/cbor"},
    TypeRow{"cjs", "text/javascript; charset=utf-8"},
    TypeRow{"conf", "text/plain; charset=utf-8"},
    TypeRow{"crt", "application/x-x509-ca-cert"},
    TypeRow{"crx", "application/x-chrome-extension"},
    TypeRow{"css", "text/css; charset=utf-8"},
    TypeRow{"csv", "text/csv; charset=utf-8"},
    TypeRow{"cur", "image/x-icon"},
    TypeRow{"dat", "application/octet-stream"},
    TypeRow{"db", "application/vnd.sqlite3"},
    TypeRow{"deb", "application/vnd.debian.binary-package"},
    TypeRow{"der", "application/x-x509-ca-cert"},
    TypeRow{"diff", "text/x-diff; charset=utf-8"},
    TypeRow{"dll", "application/x-msdownload"},
    TypeRow{"dmg", "application/x-apple-diskimage"},
    TypeRow{"doc", "application/msword"},
    TypeRow{"docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"},
    TypeRow{"dtd", "application/xml-dtd"},
    TypeRow{"eml", "message/rfc822"},
    TypeRow{"eot", "application/vnd.ms-fontobject"},
    TypeRow{"eps", "application/postscript"},
    TypeRow{"epub", "application/epub+zip"},
    TypeRow{"exe", "application/x-msdownload"},
    TypeRow{"flac", "audio/flac"},
    TypeRow{"flv", "video/x-flv"},
    TypeRow{"geojson", "application/geo+json"},
    TypeRow{"gif", "image/gif"},
    TypeRow{"glb", "model/gltf-binary"},
    TypeRow{"gltf", "model/gltf+json"},
    TypeRow{"gpg", "application/pgp-keys"},
    TypeRow{"gpx", "application/gpx+xml"},
    TypeRow{"gz", "application/gzip"},
    TypeRow{"heic", "image/heic"},
    TypeRow{"heif", "image/heif"},
    TypeRow{"htc", "text/x-component; charset=utf-8"},
    TypeRow{"htm", "text/html; charset=utf-8"},
    TypeRow{"html", "text/html; charset=utf-8"},
    TypeRow{"ico", "image/x-icon"},
    TypeRow{"ics", "text/calendar; charset=utf-8"},
    TypeRow{"img", "application/octet-stream"},
    TypeRow{"ini", "text/plain; charset=utf-8"},
    TypeRow{"iso", "application/x-iso9660-image"},
    TypeRow{"jar", "application/java-archive"},
    TypeRow{"jfif", "image/jpeg"},
    TypeRow{"jp2", "image/jp2"},
    TypeRow{"jpe", "image/jpeg"},
    TypeRow{"jpeg", "image/jpeg"},
    TypeRow{"jpg", "image/jpeg"},
    TypeRow{"js", "text/javascript; charset=utf-8"},
    TypeRow{"json", "application/json"},
    TypeRow{"json5", "application/json5"},
    TypeRow{"jsonl", "application/jsonl"},
    TypeRow{"jsonld", "application/ld+json"},
    TypeRow{"jsx", "text/jsx; charset=utf-8"},
    TypeRow{"jxl", "image/jxl"},
    TypeRow{"kml", "application/vnd.google-earth.kml+xml"},
    TypeRow{"kmz", "application/vnd.google-earth.kmz"},
    TypeRow{"list", "text/plain; charset=utf-8"},
    TypeRow{"log", "text/plain; charset=utf-8"},
    TypeRow{"m2ts", "video/mp2t"},
    TypeRow{"m3u", "audio/x-mpegurl"},
    TypeRow{"m3u8", "application/vnd.apple.mpegurl"},
    TypeRow{"m4a", "audio/mp4"},
    TypeRow{"m4b", "audio/mp4"},
    TypeRow{"m4s", "video/iso.segment"},
    TypeRow{"m4v", "video/mp4"},
    TypeRow{"map", "application/json"},
    TypeRow{"markdown", "text/markdown; charset=utf-8"},
    TypeRow{"mathml", "application/mathml+xml"},
    TypeRow{"mbox", "application/mbox"},
    TypeRow{"md", "text/markdown; charset=utf-8"},
    TypeRow{"mid", "audio/midi"},
    TypeRow{"midi", "audio/midi"},
    TypeRow{"mjs", "text/javascript; charset=utf-8"},
    TypeRow{"mkv", "video/matroska"},
    TypeRow{"mov", "video/quicktime"},
    TypeRow{"mp3", "audio/mpeg"},
    TypeRow{"mp4", "video/mp4"},
    TypeRow{"mpd", "application/dash+xml"},
    TypeRow{"mpeg", "video/mpeg"},
    TypeRow{"mpg", "video/mpeg"},
    TypeRow{"msi", "application/x-msi"},
    TypeRow{"ndjson", "application/x-ndjson"},
    TypeRow{"obj", "model/obj"},
    TypeRow{"odp", "application/vnd.oasis.opendocument.presentation"},
    TypeRow{"ods", "application/vnd.oasis.opendocument.spreadsheet"},
    TypeRow{"odt", "application/vnd.oasis.opendocument.text"},
    TypeRow{"oga", "audio/ogg"},
    TypeRow{"ogg", "audio/ogg"},
    TypeRow{"ogv", "video/ogg"},
    TypeRow{"opus", "audio/ogg"},
    TypeRow{"otf", "font/otf"},
    TypeRow{"parquet", "application/vnd.apache.parquet"},
    TypeRow{"patch", "text/x-diff; charset=utf-8"},
    TypeRow{"pb", "application/protobuf"},
    TypeRow{"pdf", "application/pdf"},
    TypeRow{"pem", "application/x-pem-file"},
    TypeRow{"png", "image/png"},
    TypeRow{"ppt", "application/vnd.ms-powerpoint"},
    TypeRow{"pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"},
    TypeRow{"ps", "application/postscript"},
    TypeRow{"psd", "image/vnd.adobe.photoshop"},
    TypeRow{"rar", "application/vnd.rar"},
    TypeRow{"rng", "application/xml"},
    TypeRow{"rpm", "application/x-rpm"},
    TypeRow{"rss", "application/rss+xml"},
    TypeRow{"rtf", "application/rtf"},
    TypeRow{"sh", "application/x-sh"},
    TypeRow{"shtml", "text/html; charset=utf-8"},
    TypeRow{"sig", "application/pgp-signature"},
    TypeRow{"sql", "application/sql"},
    TypeRow{"sqlite", "application/vnd.sqlite3"},
    TypeRow{"stl", "model/stl"},
    TypeRow{"svg", "image/svg+xml"},
    TypeRow{"swf", "application/x-shockwave-flash"},
    TypeRow{"tar", "application/x-tar"},
    TypeRow{"text", "text/plain; charset=utf-8"},
    TypeRow{"tgz", "application/gzip"},
    TypeRow{"tif", "image/tiff"},
    TypeRow{"tiff", "image/tiff"},
    TypeRow{"toml", "application/toml"},
    TypeRow{"torrent", "application/x-bittorrent"},
    TypeRow{"ts", "video/mp2t"},
    TypeRow{"tsv", "text/tab-separated-values; charset=utf-8"},
    TypeRow{"ttc", "font/collection"},
    TypeRow{"ttf", "font/ttf"},
    TypeRow{"txt", "text/plain; charset=utf-8"},
    TypeRow{"vcf", "text/vcard; charset=utf-8"},
    TypeRow{"vtt", "text/vtt; charset=utf-8"},
    TypeRow{"war", "application/java-archive"},
    TypeRow{"wasm", "application/wasm"},
    TypeRow{"wav", "audio/wav"},
    TypeRow{"weba", "audio/webm"},
    TypeRow{"webapp", "application/x-web-app-manifest+json"},
    TypeRow{"webm", "video/webm"},
    TypeRow{"webmanifest", "application/manifest+json"},
    TypeRow{"webp", "image/webp"},
    TypeRow{"wmv", "video/x-ms-wmv"},
    TypeRow{"woff", "font/woff"},
    TypeRow{"woff2", "font/woff2"},
    TypeRow{"xhtml", "application/xhtml+xml; charset=utf-8"},
    TypeRow{"xls", "application/vnd.ms-excel"},
    TypeRow{"xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"},
    TypeRow{"xml", "application/xml"},
    TypeRow{"xpi", "application/x-xpinstall"},
    TypeRow{"xsd", "application/xml"},
    TypeRow{"xsl", "application/xml"},
    TypeRow{"xslt", "application/xslt+xml"},
    TypeRow{"xz", "application/x-xz"},
    TypeRow{"yaml", "application/yaml"},
    TypeRow{"yml", "application/yaml"},
    TypeRow{"zip", "application/zip"},
    TypeRow{"zst", "application/zstd"},
};

constexpr bool is_ascending() {
  for (size_t i = 1; i < kTypes.size(); i++) {
    if (!(kTypes[i - 1].extension < kTypes[i].extension)) return false;
  }
  return true;
}
static_assert(is_ascending(), "looked up by halving");

constexpr size_t longest_extension() {
  size_t longest = 0;
  for (const TypeRow& row : kTypes) longest = std::max(longest, row.extension.size());
  return longest;
}
constexpr size_t kExtensionBytesMax = longest_extension();

// Types outside text/ that hold text or plain samples, beside those that end in +json, +xml, +text.
constexpr std::array<Bytes, 30> kCompressible = {
    "application/ecmascript",
    "application/graphql",
    "application/javascript",
    "application/json",
    "application/json5",
    "application/jsonl",
    "application/postscript",
    "application/rtf",
    "application/sql",
    "application/toml",
    "application/vnd.apple.mpegurl",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "application/x-javascript",
    "application/x-ndjson",
    "application/x-sh",
    "application/x-tar",
    "application/x-www-form-urlencoded",
    "application/xml",
    "application/xml-dtd",
    "application/yaml",
    "font/collection",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/vnd.microsoft.icon",
    "image/x-icon",
    "message/rfc822",
    "model/obj",
    "model/stl",
};

Bytes extension_of(Bytes path) {
  const size_t slash = path.rfind('/');
  const Bytes name = slash == Bytes::npos ? path : path.substr(slash + 1);
  const size_t dot = name.rfind('.');
  if (dot == Bytes::npos || dot == 0) return {};
  return name.substr(dot + 1);
}

bool ends_folded(Bytes text, Bytes lower) {
  return text.size() >= lower.size() &&
         equals_folded(text.substr(text.size() - lower.size()), lower);
}

}  // namespace

Bytes content_type_of(Bytes path) {
  const Bytes extension = extension_of(path);
  if (extension.empty() || extension.size() > kExtensionBytesMax) return kUnknownType;
  std::array<char, kExtensionBytesMax> folded{};
  std::transform(extension.begin(), extension.end(), folded.begin(), ascii_lower);
  const Bytes wanted(folded.data(), extension.size());
  const auto row =
      std::lower_bound(kTypes.begin(), kTypes.end(), wanted,
                       [](const TypeRow& one, Bytes other) { return one.extension < other; });
  return row != kTypes.end() && row->extension == wanted ? row->type : kUnknownType;
}

bool is_compressible(Bytes content_type) {
  const Bytes type = trim_ows(content_type.substr(0, content_type.find(';')));
  if (equals_folded(type.substr(0, 5), "text/")) return !equals_folded(type, "text/event-stream");
  for (const Bytes suffix : {Bytes("+json"), Bytes("+xml"), Bytes("+text")}) {
    if (ends_folded(type, suffix)) return true;
  }
  return std::any_of(kCompressible.begin(), kCompressible.end(),
                     [type](Bytes one) { return equals_folded(type, one); });
}

}  // namespace millrace::files
