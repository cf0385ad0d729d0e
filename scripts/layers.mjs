// Which folder may import which, and which system headers belong to one folder, as data.
// scripts/tidy.mjs checks it. A new row or entry here is a design change: ARCHITECTURE.md changes
// in the same commit.

// Longest prefix wins. A folder imports itself and what is named; a name ending in .h means that
// one file.
export const nativeLayers = {
  "core/base": [],
  "core/model": ["core/base"],
  "core/poll": ["core/base", "core/model"],
  "core/disk": ["core/base", "core/model"],
  "core/proto": [
    "core/base",
    "core/model",
    "core/disk", // what a session asks of the disk, and is answered
    "core/proto/http1",
    "core/proto/multipart",
    "core/proto/files",
    "core/proto/ws",
    "core/proto/proxy",
    "core/proto/scgi",
  ],
  "core/proto/files": ["core/base", "core/model"],
  "core/proto/http1": [
    "core/base",
    "core/model",
    "core/disk",
    "core/proto/multipart",
    "core/proto/session.h",
    "core/proto/upgrade.h", // what a connection may become; not how
    "core/proto/files",
  ],
  "core/proto/ws": [
    "core/base",
    "core/model",
    "core/disk", // named by Session
    "core/proto/session.h",
    "core/proto/upgrade.h",
  ],
  "core/proto/proxy": [
    "core/base",
    "core/model",
    "core/disk", // named by Session
    "core/proto/session.h",
  ],
  "core/proto/scgi": [
    "core/base",
    "core/model",
    "core/disk", // named by Session
    "core/proto/session.h",
    "core/proto/http1", // SCGI is a dialect of it
  ],
  "core/proto/multipart": ["core/base", "core/model"],
  "core/route": ["core/base", "core/model"],
  "core/lane": ["core/base", "core/model"],
  "core/loop": [
    ...["core/base", "core/model", "core/poll", "core/proto", "core/route", "core/lane"],
    "core/disk",
    "core/proto/http1/encoder.h", // the cached Date line
    "core/proto/ws/deflate.h", // the pool that its sockets share
    "core/proto/ws/client.h", // what begins on a connection of our own
    "core/proto/proxy/addresses.h", // whom connections are counted by
  ],
  "core/server": [
    "core/base",
    "core/model",
    "core/disk",
    "core/poll/listen.h",
    "core/route",
    "core/lane",
    "core/loop",
  ],
  addon: [
    "core/base",
    "core/model",
    "core/disk/log_file.h",
    "core/lane",
    "core/loop",
    "core/poll/hand_over.h",
    "core/proto/multipart",
    "core/server",
  ],
  bench: ["core"],
  test: ["core", "fuzz"],
  fuzz: ["core", "test"],
};

// Headers that only these folders may include; "" means nobody.
export const fences = [
  { headers: /^(napi|node_api|js_native_api|uv)\.h$/, folders: ["addon"] },
  {
    headers: /^(sys\/(epoll|event|eventfd|socket|un|sendfile)|netinet\/\w+|arpa\/inet|netdb)\.h$/,
    folders: ["core/poll", "bench", "test"],
  },
  // core/disk: a log may go to a pipe
  { headers: /^poll\.h$/, folders: ["core/disk", "core/poll", "bench", "test"] },
  { headers: /^sys\/uio\.h$/, folders: ["core/disk", "core/poll", "bench", "test"] },
  { headers: /^picohttpparser\.h$/, folders: ["core/proto/http1"] },
  { headers: /^dlfcn\.h$/, folders: ["core/base", "bench"] },
  {
    headers: /^atomic$/,
    // core/model: the references to a shared message
    folders: ["core/base", "core/disk", "core/lane", "core/model", "core/server", "bench", "test"],
  },
  {
    headers: /^(thread|pthread\.h)$/,
    folders: ["core/base", "core/disk", "core/server", "bench", "test"],
  },
  {
    headers: /^(mutex|shared_mutex|condition_variable)$/,
    folders: ["core/disk", "core/lane", "core/server"],
  },
  {
    headers: /^(time\.h|ctime|chrono)$/,
    folders: ["core/disk", "core/poll", "bench", "test"], // core/disk: how long a log is waited for
  },
  {
    headers: /^(unistd|fcntl)\.h$/,
    folders: ["core/base", "core/disk", "core/poll", "addon", "bench", "test", "fuzz"],
  },
  { headers: /^(iostream|regex|format|expected|coroutine|ranges|functional)$/, folders: [] },
];

// Files of src by what they import; "*" stands for everything below src.
export const scriptLayers = {
  "native/tables": [],
  "native/lane": ["native/tables", "native/binding"],
  "native/binding": ["errors"],
  errors: ["native/tables"],
};

// Packages and modules that src may import from outside.
export const scriptOutside = /^node:/;
