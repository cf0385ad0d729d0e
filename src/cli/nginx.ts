// An nginx configuration for a server of millrace, as text. test/cli.test.ts runs it verbatim.

export interface NginxOptions {
  readonly server: string; // "127.0.0.1:3000" or "unix:/run/app.sock"
  readonly listen: number;
  readonly name: string;
  readonly root: string | undefined; // of files that res.accel() sends
  readonly isScgi: boolean;
  readonly version: string;
}

/** Everything for http { }: upstream and server. */
export function nginxConfiguration(options: NginxOptions): string {
  const parts = options.isScgi
    ? [scgiServer(options)]
    : [UPGRADE_MAP, upstream(options), httpServer(options)];
  return `${[head(options), ...parts].join("\n\n")}\n`;
}

function head({ isScgi, server, version }: NginxOptions): string {
  const [, port] = /:(\d+)$/.exec(server) ?? [];
  const where = port === undefined ? `unix: "${server.slice(5)}", mode: 0o660` : `port: ${port}`;
  const listen = isScgi ? `listen: [{ protocol: "scgi", ${where} }]` : where;
  const trust = port === undefined ? '"unix"' : '"loopback"';
  return `# Belongs into http { }: /etc/nginx/conf.d/NAME.conf. Made by millrace ${version}.
# The server behind it: serve({ ${listen}, trustProxy: ${trust}, … })
# Its sockets stay open for timeouts.keepAlive (75 s), longer than keepalive_timeout below, so that
# nginx, and not the server, ends an idle connection.`;
}

const UPGRADE_MAP = `# "" keeps connections to the upstream open; a WebSocket needs the word.
map $http_upgrade $millrace_connection {
  default upgrade;
  "" "";
}`;

function upstream({ server }: NginxOptions): string {
  return `upstream millrace {
  # For restarts with two processes: a second line, and close({ wait: 65_000 }) in the first.
  server ${server} max_fails=0;
  keepalive 64;
  keepalive_timeout 60s;
}`;
}

function listen({ listen: port, name }: NginxOptions): string {
  return `  listen ${port};
  # listen [::]:${port};
  server_name ${name};

  # limits.maxRequestBodySize of the server has the last word.
  client_max_body_size 16m;`;
}

// Each is replaced, never passed on: what a client claims about itself is worth nothing.
const FORWARDED = `  proxy_set_header Host $http_host;
  proxy_set_header X-Forwarded-For $remote_addr;
  proxy_set_header X-Forwarded-Proto $scheme;
  proxy_set_header X-Forwarded-Host $http_host;
  proxy_set_header X-Forwarded-Port $server_port;
  proxy_set_header X-Real-IP $remote_addr;
  proxy_set_header Forwarded "";`;

function httpServer(options: NginxOptions): string {
  return `server {
${listen(options)}

  # A location that sets a header of its own has to repeat all of these.
  proxy_http_version 1.1;
  proxy_set_header Connection $millrace_connection;
  proxy_set_header Upgrade $http_upgrade;
${FORWARDED}
  proxy_connect_timeout 5s;
  proxy_send_timeout 60s;
  proxy_read_timeout 75s;

  # Everything, WebSockets too: the server's pings keep them from proxy_read_timeout.
  location / {
    proxy_pass http://millrace;
  }

  # Server-sent events: each leaves as it is written. A response with X-Accel-Buffering: no is not
  # buffered in any location.
  location /events {
    proxy_pass http://millrace;
    proxy_buffering off;
    proxy_read_timeout 1h;
  }

  # Uploads reach the handler while they come, of any size.
  location /upload {
    proxy_pass http://millrace;
    proxy_request_buffering off;
    client_max_body_size 0;
  }
${protectedFiles(options)}}`;
}

// CONTENT_LENGTH is put first by nginx itself.
const PARAMETERS = `  scgi_param SCGI 1;
  scgi_param REQUEST_METHOD $request_method;
  scgi_param REQUEST_URI $request_uri;
  scgi_param QUERY_STRING $query_string;
  scgi_param CONTENT_TYPE $content_type;
  scgi_param DOCUMENT_URI $document_uri;
  scgi_param DOCUMENT_ROOT $document_root;
  scgi_param SERVER_PROTOCOL $server_protocol;
  scgi_param REQUEST_SCHEME $scheme;
  scgi_param HTTPS $https if_not_empty;
  scgi_param REMOTE_ADDR $remote_addr;
  scgi_param REMOTE_PORT $remote_port;
  scgi_param SERVER_PORT $server_port;
  scgi_param SERVER_NAME $server_name;

  # In place of what a client claims about itself; REMOTE_ADDR and the like above say it.
  scgi_param HTTP_X_FORWARDED_FOR "";
  scgi_param HTTP_X_FORWARDED_PROTO "";
  scgi_param HTTP_X_FORWARDED_HOST "";
  scgi_param HTTP_X_FORWARDED_PORT "";
  scgi_param HTTP_X_REAL_IP "";
  scgi_param HTTP_FORWARDED "";
`;

function scgiServer(options: NginxOptions): string {
  return `server {
${listen(options)}

${PARAMETERS}
  scgi_connect_timeout 5s;
  scgi_send_timeout 60s;
  scgi_read_timeout 75s;

  location / {
    scgi_pass ${options.server};
  }

  # Server-sent events: each leaves as it is written.
  location /events {
    scgi_pass ${options.server};
    scgi_buffering off;
    scgi_read_timeout 1h;
  }

  # Uploads reach the handler while they come, of any size.
  location /upload {
    scgi_pass ${options.server};
    scgi_request_buffering off;
    client_max_body_size 0;
  }
${protectedFiles(options)}}`;
}

function protectedFiles({ root }: NginxOptions): string {
  if (root === undefined) {
    return `
  # With --root DIR: files that handlers send with res.accel("/protected/NAME").
`;
  }
  return `
  # Files that handlers send with res.accel("/protected/NAME"); nobody else gets at them.
  location /protected/ {
    internal;
    alias ${root === "/" ? "" : root}/;
  }
`;
}
