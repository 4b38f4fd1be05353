// Asks Node for names: `host:` the C library through dns.lookup, `a:`, `aaaa:`, `srv:`, `txt:`, `ptr:` its own resolver.
// With --server=ADDRESS:PORT a dns.Resolver of that server is asked in place of resolv.conf's.
import dns from "node:dns";

const words = process.argv.slice(2);
const server = words.find((word) => word.startsWith("--server="))?.slice("--server=".length);
const resolver = server ? new dns.promises.Resolver({ timeout: 2000, tries: 2 }) : dns.promises;
if (server) resolver.setServers([server]);

const ask = {
  host: async (name) => (await dns.promises.lookup(name, { all: true })).map((one) => one.address),
  a: (name) => resolver.resolve4(name),
  aaaa: (name) => resolver.resolve6(name),
  srv: async (name) =>
    (await resolver.resolveSrv(name)).map((one) => `${one.priority},${one.weight},${one.port},${one.name}`),
  txt: async (name) => (await resolver.resolveTxt(name)).map((strings) => strings.join("+")),
  ptr: (name) => resolver.resolvePtr(name),
  reverse: (address) => resolver.reverse(address),
};

for (const word of words.filter((word) => !word.startsWith("--"))) {
  const [kind, name] = [word.slice(0, word.indexOf(":")), word.slice(word.indexOf(":") + 1)];
  try {
    const found = (await ask[kind](name)).sort();
    console.log(word, found.length > 10 ? found.length : found.join(" "));
  } catch (error) {
    console.log(`${word} -(${error.code})`);
  }
}
