// Every command that a library knows, called with many arguments, at the gateway and at one server that owns all slots
// of a cluster: values and errors have to be the same.
//
//     surface.mjs HOST PORT ioredis|node-redis plain|cluster PROTOCOL OTHER_HOST OTHER_PORT
//
// The arguments are blind guesses, and many calls fail: then the errors have to be the same. What may differ, and what is
// not called, stands in the lists below.

import { createRequire } from 'node:module';
import { inspect, isDeepStrictEqual } from 'node:util';
import { Cluster, Redis } from 'ioredis';
import { createClient, createCluster } from 'redis';

const [host, port, library, mode, protocol, otherHost, otherPort] = process.argv.slice(2);
const { list } = createRequire(createRequire(import.meta.url).resolve('ioredis'))('@ioredis/commands');

// Not called: they end the connection or the server, change the cluster, or turn the connection into something else.
const LEFT_OUT =
  /^(quit|shutdown|monitor|multi|exec|discard|reset|subscribe|psubscribe|ssubscribe|unsubscribe|punsubscribe|sunsubscribe|sync|psync|replconf|debug|hello|auth|select|wait|waitaof|failover|save|migrate|client_?(kill|pause|reply|tracking|caching|list|info)?|client|pfdebug|pfselftest|readonly|readwrite|asking|restore_?asking|restore-asking|replicaof|slaveof|swapdb|move|module.*|cluster.*|acl.*|latency.*|slowlog.*|memory.*|script_?(debug|kill)|function_?kill|function_?stats|lolwut|command.*|info|config.*|role|bgsave|bgrewriteaof|lastsave|time|sunsubscribe|trimslots|backup|hotkeys.*)$/;
// Answers that are random or tell of a clock, or of one node: their kind is compared.
const LOOSE = /rand|spop|time|ttl|dump|scan|keys|xadd|xinfo|xpending|xautoclaim|function_?(list|dump)|pubsub|client_?id|client_?(un|get|set)|xgroup|memory|idletime|publish|touch|script|function|xclaim/;
// Commands that the gateway takes apart by slot where one server says CROSSSLOT.
const SPLIT = /^(mget|mset|del|unlink|exists|touch)$/;

const FULL = process.env.EVENKEEL_FULL === '1';
const KEYS = ['{s}s', '{s}n', '{s}l', '{s}h', '{s}t', '{s}z', '{s}g', '{s}x', '{s}p', '{s}none'];
const DATA = [
  ['set', '{s}s', 'text'], ['set', '{s}n', '5'], ['rpush', '{s}l', 'a', 'b', '3', 'a'], ['hset', '{s}h', 'a', '1', 'b', 'x'],
  ['sadd', '{s}t', '1', '2', '3'], ['zadd', '{s}z', '1', 'a', '2', 'b', '3', 'c'],
  ['geoadd', '{s}g', '13.361389', '38.115556', 'a', '15.087269', '37.502669', 'b'],
  ['xadd', '{s}x', '1-1', 'f', 'v'], ['xgroup', 'create', '{s}x', 'a', '0'], ['pfadd', '{s}p', 'a', 'b'],
];
const tails = [
  [], ['a'], [1], ['a', 'b'], ['1', '2'], [1, 2], ['a', 1], [1, 'a'], ['a', '1', '2'], [0, -1], [['a', 'b']], ['{s}other'],
  ['{s}other', 'a'], [{ a: '1' }], ['a', { score: 1, value: 'd' }], [{ score: 1, value: 'd' }], [[{ score: 1, value: 'd' }]],
  ['a', 'a', '0'], ['0', '1-1'], ['*', { f: 'v' }], ['-', '+'], ['AND', '{s}other'], [[{ longitude: 1, latitude: 2, member: 'c' }]],
  ['a', 'b', 'km'], [['{s}other', '{s}s']], [10, 'LEFT'], ['LEFT', 'RIGHT'], ['{s}other', 'LEFT', 'RIGHT'], [{ COUNT: 2 }],
];

async function connect(host, port) {
  const quiet = (client) => (client.on('error', () => {}), client);
  if (library === 'ioredis') {
    const options = { maxRetriesPerRequest: 0, retryStrategy: () => 100, protocol: Number(protocol) };
    const client = mode === 'plain' ? new Redis(port, host, options) : new Cluster([{ host, port }], { redisOptions: options });
    return quiet(client);
  }
  const url = `redis://${host}:${port}`;
  const RESP = Number(protocol);
  const client = quiet(mode === 'plain' ? createClient({ url, RESP }) : createCluster({ rootNodes: [{ url }], RESP }));
  await client.connect();
  return client;
}

// The methods of the library that stand for commands.
function methods(client) {
  if (library === 'ioredis') return list.map((name) => [name, (one, args) => one.call ? one[name](...args) : null]);
  const found = new Map();
  for (let at = client; at && at !== Object.prototype; at = Object.getPrototypeOf(at)) {
    for (const name of Object.getOwnPropertyNames(at)) {
      if (/^[A-Z][A-Z_]+$/.test(name) && typeof client[name] === 'function') found.set(name, (one, args) => one[name](...args));
    }
  }
  return [...found];
}

const raw = (one, words) => {
  if (library === 'ioredis') return one.call(...words);
  return mode === 'plain' ? one.sendCommand(words) : one.sendCommand('{s}', false, words);
};

async function outcome(call) {
  let timer;
  const late = new Promise((done) => (timer = setTimeout(() => done({ error: 'no answer' }), 5000)));
  const answer = (async () => {
    try {
      return { value: await call() };
    } catch (error) {
      return { error: String(error.message ?? error) };
    }
  })();
  const got = await Promise.race([answer, late]);
  clearTimeout(timer);
  return got;
}

// The same but for the order of lists, where a hash table decides it.
function sorted(value) {
  if (!Array.isArray(value)) return value;
  return value.map(sorted).sort((a, b) => (inspect(a) < inspect(b) ? -1 : 1));
}

const kind = (value) => (value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value);

function agree(name, expected, got) {
  if (isDeepStrictEqual(expected, got)) return true;
  // The gateway knows commands of newer servers, and counts their arguments first.
  if (/unknown (sub)?command/i.test(expected.error ?? '')) return 'error' in got;
  if (/CROSSSLOT/.test(expected.error ?? '')) return SPLIT.test(name);
  // Valkey 9.1 does not look whether the keys of MSETEX are in one slot.
  if (/^msetex$/i.test(name) && /CROSSSLOT/.test(got.error ?? '')) return true;
  if ('error' in expected && 'error' in got) return false;
  if ('error' in expected || 'error' in got) return false;
  if (LOOSE.test(name)) return kind(expected.value) === kind(got.value);
  return isDeepStrictEqual(sorted(expected.value), sorted(got.value));
}

async function prepare(one) {
  for (const key of [...KEYS, '{s}other']) await raw(one, ['del', key]);
  for (const words of DATA) await raw(one, words);
}

const gateway = await connect(host, Number(port));
const server = await connect(otherHost, Number(otherPort));
let calls = 0;
const different = new Map();
const all = methods(gateway);
for (const [name, call] of all) {
  const plain = name.toLowerCase();
  if (LEFT_OUT.test(plain) || /^b(l|r|z)/.test(plain) || /xread/.test(plain)) continue;
  await Promise.all([prepare(gateway), prepare(server)]);
  for (const key of FULL ? KEYS : KEYS.slice(0, 1).concat(KEYS[2 + (different.size + calls) % 7])) {
    for (const tail of tails) {
      const args = () => structuredClone([key, ...tail]);
      const [got, expected] = await Promise.all([gateway, server].map((one) => outcome(async () => call(one, args()))));
      calls += 1;
      if (!agree(plain, expected, got)) {
        const text = `${name} ${inspect([key, ...tail])}: expected ${inspect(expected)}, got ${inspect(got)}`;
        if (!different.has(name)) different.set(name, text.replace(/\s+/g, ' ').slice(0, 400));
      }
      if (/spop/.test(plain)) await Promise.all([prepare(gateway), prepare(server)]);
    }
  }
}
for (const text of different.values()) console.log(text);
console.log(`${library} ${mode} RESP${protocol}: ${calls} calls of ${all.length} methods, ${different.size} methods differ`);
process.exit(different.size || calls < 1000 ? 1 : 0);
