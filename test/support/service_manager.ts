// The service manager as far as a service sees it: the datagrams of sd_notify(3).
import { Child } from "./child.ts";
import { programNamed } from "./programs.ts";

const python = programNamed("python3");
// Node has no datagrams on unix sockets. A blank name binds an abstract one.
const RECEIVER = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1].replace("@", "\\0", 1))
print("listens", flush=True)
while True:
  print(s.recv(4096).decode().replace("\\n", " "), flush=True)
`;

export const hasManager = python !== undefined;

/** Prints each datagram that comes to NOTIFY_SOCKET as a line, the first line being "listens". */
export async function startManager(name: string): Promise<Child> {
  const child = new Child(python as string, ["-c", RECEIVER, name]);
  await child.said(/^listens$/m);
  return child;
}
