// Seed E16: an SCGI program that counts its requests, behind nginx with scgicounter.conf.
import { scgi } from "millrace";

const state = await scgi.open({ port: Number(process.env.PORT ?? 4000) });
process.once("SIGTERM", () => state.close());
console.log(`scgicounter on ${state.url}`);

let counter = 0;
await state
  .run((request) => {
    counter += 1;
    request.writeStatusOkTextContent();
    request.write(`Hello for the ${counter}th time.\r\n`);
    return false; // true would end the loop
  })
  .catch((error) => {
    if (error.code !== "ERR_MILLRACE_CLOSED") throw error;
  });
