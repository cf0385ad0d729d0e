// The servers that are open in this thread.
import type { Server } from "../api.ts";

const servers = new Set<Server>();

export function noteOpen(server: Server): void {
  servers.add(server);
  void server.closed.then(() => servers.delete(server));
}

export function openServers(): readonly Server[] {
  return [...servers];
}
