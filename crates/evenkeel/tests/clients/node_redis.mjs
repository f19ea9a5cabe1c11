// node-redis against an address: node_redis.mjs HOST PORT plain|cluster PROTOCOL gateway|server
//
// `server` leaves out what only the gateway does, so that the same checks tell whether the library or the gateway
// is to blame: run `plain` against a lone redis-server, `cluster` against a lone one in cluster mode.

import { randomBytes } from 'node:crypto';
import { createRequire } from 'node:module';
import { RESP_TYPES, createClient, createCluster } from 'redis';
import { Checks, numbers, refused, same } from './checks.mjs';

const [host, portText, mode, protocol, target] = process.argv.slice(2);
const port = Number(portText);
const RESP = Number(protocol);
const PLAIN = mode === 'plain';
const GATEWAY = target === 'gateway';

async function connect() {
  const url = `redis://${host}:${port}`;
  const client = PLAIN ? createClient({ url, RESP }) : createCluster({ rootNodes: [{ url }], RESP });
  client.on('error', () => {}); // a lost connection fails the check that needed it
  await client.connect();
  return client;
}

async function until(test) {
  while (!test()) await new Promise((done) => setTimeout(done, 5));
}

// A command by its words; the cluster client wants to know the key and whether it only reads.
const call = (r, key, ...words) => (PLAIN ? r.sendCommand(words) : r.sendCommand(key, false, words));

const checks = {
  async 'strings'(r) {
    same(await r.set('s', 'one'), 'OK');
    same(await r.append('s', ' two'), 7);
    same(await r.getRange('s', 4, -1), 'two');
    same([await r.setRange('s', 0, 'ONE'), await r.strLen('s')], [7, 7]);
    same([await r.get('absent'), await r.set('s', 'x', { NX: true })], [null, null]);
    same([await r.getSet('s', 'new'), await r.getDel('s')], ['ONE two', 'new']);
    same([await r.incr('n'), await r.incrBy('n', 9), await r.decr('n')], [1, 10, 9]);
    same(Number(await r.incrByFloat('f', 1.5)), 1.5);
    same([await r.set('empty', ''), await r.get('empty')], ['OK', '']);
  },
  async 'hashes'(r) {
    same(await r.hSet('h', { a: 1, b: 2, c: 'x' }), 3);
    same(await r.hGetAll('h'), { a: '1', b: '2', c: 'x' });
    same(await r.hmGet('h', ['a', 'nope', 'c']), ['1', null, 'x']);
    same([await r.hLen('h'), await r.hIncrBy('h', 'a', 4), await r.hDel('h', 'b')], [3, 5, 1]);
    await r.hSet('big-hash', Object.fromEntries(numbers(2000).map((i) => [`f${i}`, i])));
    same(Object.keys(await r.hGetAll('big-hash')).length, 2000);
  },
  async 'lists'(r) {
    same(await r.rPush('l', numbers(10).map(String)), 10);
    same(await r.lRange('l', 0, 2), ['0', '1', '2']);
    same([await r.lPop('l'), await r.rPop('l'), await r.lPopCount('l', 2)], ['0', '9', ['1', '2']]);
    same([await r.lLen('l'), await r.lIndex('l', 0), await r.lRem('l', 1, '5')], [6, '3', 1]);
    same(await r.lMove('l', 'l', 'LEFT', 'RIGHT'), '3');
  },
  async 'sets and sorted sets'(r) {
    same(await r.sAdd('{s}a', ['1', '2', '3']), 3);
    same(await r.sAdd('{s}b', ['2', '3', '4']), 3);
    same((await r.sInter(['{s}a', '{s}b'])).sort(), ['2', '3']);
    same(await r.sInterStore('{s}c', ['{s}a', '{s}b']), 2);
    same((await r.sMembers('{s}a')).sort(), ['1', '2', '3']);
    same(Number(await r.sIsMember('{s}a', '2')), 1);
    const members = ['one', 'two', 'three'].map((value, i) => ({ value, score: i + 1 }));
    same(await r.zAdd('{z}a', members), 3);
    same(await r.zRangeWithScores('{z}a', 0, -1), members);
    same([await r.zScore('{z}a', 'two'), await r.zScore('{z}a', 'no'), await r.zRank('{z}a', 'two')], [2, null, 1]);
    await r.zAdd('{z}b', { value: 'two', score: 5 });
    same(await r.zUnionStore('{z}c', ['{z}a', '{z}b']), 3);
    same(await r.zPopMax('{z}c'), { value: 'two', score: 7 });
  },
  async 'streams'(r) {
    const first = await r.xAdd('st', '*', { a: '1' });
    await r.xAdd('st', '*', { a: '2' });
    same([await r.xLen('st'), (await r.xRange('st', '-', '+'))[0].message], [2, { a: '1' }]);
    same(await r.xGroupCreate('st', 'group', '0'), 'OK');
    same((await r.xRead({ key: 'st', id: '0' }, { COUNT: 10 }))[0].messages.length, 2);
    await r.xReadGroup('group', 'me', { key: 'st', id: '>' }, { COUNT: 1 });
    same((await r.xPending('st', 'group')).pending, 1);
    same(await r.xAck('st', 'group', first), 1);
    same((await r.xInfoStream('st')).length, 2);
  },
  async 'counters, bits and places'(r) {
    same(Number(await r.pfAdd('{hll}a', numbers(1000).map(String))), 1);
    await r.pfAdd('{hll}b', numbers(1500).map(String));
    same(await r.pfMerge('{hll}c', ['{hll}a', '{hll}b']), 'OK');
    same(Math.abs((await r.pfCount('{hll}c')) - 1500) < 60, true);
    same([await r.setBit('{b}a', 7, 1), await r.bitCount('{b}a'), await r.bitOp('NOT', '{b}b', '{b}a')], [0, 1, 1]);
    const palermo = { longitude: 13.361389, latitude: 38.115556, member: 'Palermo' };
    const catania = { longitude: 15.087269, latitude: 37.502669, member: 'Catania' };
    same(await r.geoAdd('geo', [palermo, catania]), 2);
    same(Math.round(await r.geoDist('geo', 'Palermo', 'Catania', 'km')), 166);
    same(await r.geoSearch('geo', { longitude: 15, latitude: 37 }, { radius: 100, unit: 'km' }), ['Catania']);
  },
  async 'expiry and keys of any type'(r) {
    same(await r.set('e', '1', { EX: 100 }), 'OK');
    same([await r.ttl('absent'), await r.persist('e'), await r.ttl('e'), await r.expire('e', 50)], [-2, 1, -1, 1]);
    await r.set('soon', '1', { PX: 60 });
    await new Promise((done) => setTimeout(done, 200));
    same(await r.get('soon'), null);
    await r.set('{k}a', 'v');
    same([await r.type('{k}a'), await r.objectEncoding('{k}a')], ['string', 'embstr']);
    same([await r.rename('{k}a', '{k}b'), Number(await r.copy('{k}b', '{k}c')), await r.get('{k}c')], ['OK', 1, 'v']);
    await r.rPush('{k}list', ['3', '1', '2']);
    same(await r.sort('{k}list'), ['1', '2', '3']);
    same(await r.sortStore('{k}list', '{k}sorted'), 3);
  },
  async 'a thousand at once over many slots'(r) {
    const all = numbers(1000);
    same(await Promise.all(all.map((i) => r.set(`p:${i}`, `value ${i}`))), all.map(() => 'OK'));
    same(await Promise.all(all.map((i) => r.get(`p:${i}`))), all.map((i) => `value ${i}`));
  },
  async 'a pipeline keeps its order, errors too'(r) {
    const replies = await Promise.all(numbers(300).flatMap((i) => [
      r.set(`m:${i}`, String(i)), r.incr(`m:${i}`), r.lPush(`m:${i}`, 'wrong').catch((error) => error.message), r.get(`m:${i}`),
    ]));
    for (const i of numbers(300)) {
      const [ok, number, error, value] = replies.slice(i * 4, i * 4 + 4);
      same([ok, number, value], ['OK', i + 1, String(i + 1)]);
      same(/^WRONGTYPE/.test(error), true);
    }
  },
  async 'transactions'(r) {
    same(await r.multi().set('{x}a', '1').incr('{x}a').get('{x}a').exec(), ['OK', 2, '2']);
    same(await r.multi().set('{x}a', 'again').get('{x}a').exec(), ['OK', 'again']);
  },
  async 'scripts'(r) {
    const script = { keys: ['k'], arguments: ['v'] };
    same(await r.eval('return {KEYS[1], ARGV[1], 7, {1, {2}}}', script), ['k', 'v', 7, [1, [2]]]);
    same(await r.eval("return redis.call('set', KEYS[1], ARGV[1])", { keys: ['scripted'], arguments: ['yes'] }), 'OK');
    same(await r.get('scripted'), 'yes');
    await refused(() => r.evalSha('0'.repeat(40), { keys: ['k'], arguments: [] }), 'NOSCRIPT');
  },
  async 'big values and any bytes'(r) {
    const bytes = r.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
    for (const size of [1 << 20, 20 << 20]) {
      const value = randomBytes(size);
      same(await r.set('big', value), 'OK');
      same((await bytes.get('big')).equals(value), true);
    }
    same(await r.del('big'), 1);
    const every = Buffer.from(numbers(256));
    for (const key of [every, Buffer.from('a\r\nb'), Buffer.from('{}a'), Buffer.from('{a'), Buffer.from([0])]) {
      same(await r.set(key, every), 'OK');
      same((await bytes.get(key)).equals(every), true);
    }
    for (const word of ['schöne Grüße', 'ключ', '鍵', '🔑 {🔒}']) {
      same([await r.set(word, word), await r.get(word)], ['OK', word]);
    }
  },
  async 'errors'(r) {
    await r.set('string', 'x');
    await refused(() => r.lPush('string', '1'), 'WRONGTYPE');
    await refused(() => r.incr('string'), 'not an integer');
    await refused(() => call(r, 'a', 'NOSUCHCOMMAND', 'a'), "unknown command 'NOSUCHCOMMAND'");
    await refused(() => call(r, 'a', 'GET', 'a', 'b'), "wrong number of arguments for 'get' command");
    same(await r.get('string'), 'x');
  },
  async 'many clients at once'() {
    await Promise.all(numbers(16).map(async (number) => {
      const r = await connect();
      for (const turn of numbers(40)) {
        await Promise.all(numbers(10).flatMap((i) => {
          const value = `${number} ${turn} ${i}${'.'.repeat(i * 100)}`;
          return [r.set(`mc:${number}:${i}`, value), r.get(`mc:${number}:${i}`).then((got) => same(got, value))];
        }));
      }
      r.destroy();
    }));
  },
};

const plainOnly = {
  async 'commands split over slots'(r) {
    const keys = numbers(500).map((i) => `split:${i}`);
    same(await r.mSet(keys.map((key) => [key, key.toUpperCase()])), 'OK');
    same(await r.mGet(keys), keys.map((key) => key.toUpperCase()));
    same(await r.mGet([keys[3], 'absent', keys[3], keys[1]]), ['SPLIT:3', null, 'SPLIT:3', 'SPLIT:1']);
    same([await r.exists([...keys, 'absent']), await r.touch(keys)], [500, 500]);
    same([await r.del(keys.slice(0, 200)), await r.unlink(keys), await r.exists(keys)], [200, 300, 0]);
  },
  async 'loaded scripts'(r) {
    const sha = await r.scriptLoad("return redis.call('get', KEYS[1])");
    for (const i of numbers(30)) {
      await r.set(`sha:${i}`, String(i));
      same(await r.evalSha(sha, { keys: [`sha:${i}`], arguments: [] }), String(i));
    }
    same((await r.scriptExists([sha, '0'.repeat(40)])).map(Number), [1, 0]);
  },
  async 'the connection'(r) {
    const other = await connect();
    same(await r.ping(), 'PONG');
    same([await r.clientSetName('checks'), await r.clientGetName(), await other.clientGetName()], ['OK', 'checks', null]);
    same((await r.clientId()) !== (await other.clientId()), true);
    same((await r.clientList()).some((client) => client.name === 'checks'), true);
    same(await r.echo('hello'), 'hello');
    await r.select(0);
    same(Math.abs(Number((await r.time())[0]) * 1000 - Date.now()) < 5000, true);
    other.destroy();
  },
  async 'server facts'(r) {
    const info = await r.info();
    same([/redis_version:/.test(info), /db0:keys=/.test(info)], [true, true]);
    same([(await r.dbSize()) > 1000, (await r.commandCount()) > 200], [true, true]);
    same(await r.publish('channel', 'nobody listens'), 0);
  },
  async 'scanning'(r) {
    same(await r.flushAll(), 'OK');
    await Promise.all(numbers(5000).map((i) => r.set(`scan:${i}`, String(i))));
    const walk = async (options) => {
      const seen = new Set();
      for await (const page of r.scanIterator(options)) page.forEach((key) => seen.add(key));
      return seen.size;
    };
    same([await walk({ COUNT: 100 }), await walk({ MATCH: 'scan:12*', COUNT: 500 }), await walk({ TYPE: 'list' })], [5000, 111, 0]);
    same([await r.dbSize(), (await r.keys('scan:*')).length, /^scan:/.test(await r.randomKey())], [5000, 5000, true]);
    same([await r.flushAll(), await r.dbSize(), await r.randomKey()], ['OK', 0, null]);
  },
};

checks['subscriptions'] = async (r) => {
  const heard = [];
  const subscriber = await connect();
  await subscriber.subscribe(['news', 'more'], (text, channel) => heard.push(`${channel} ${text}`));
  await subscriber.pSubscribe('n?ws', (text, channel) => heard.push(`n?ws ${channel} ${text}`));
  await subscriber.sSubscribe('shard', (text, channel) => heard.push(`shard ${channel} ${text}`));
  same([await r.publish('news', 'hello'), await r.publish('more', 'x'), await r.publish('other', 'y')], [2, 1, 0]);
  same(await r.sPublish('shard', 'z'), 1);
  await until(() => heard.length === 4);
  same(heard.sort(), ['more x', 'n?ws news hello', 'news hello', 'shard shard z']);
  await Promise.all(numbers(200).map((i) => r.publish('more', String(i))));
  await until(() => heard.length === 204);
  same(heard.slice(4).sort(), numbers(200).map((i) => `more ${i}`).sort());
  if (PLAIN && RESP === 3) same(await subscriber.echo('between messages'), 'between messages');
  await subscriber.unsubscribe('news');
  await subscriber.pUnsubscribe();
  same(await r.publish('news', 'nobody'), 0);
  subscriber.destroy();
};

const gatewayOnly = {
  async 'one node with every slot'(r) {
    const slots = await call(r, 'a', 'CLUSTER', 'SLOTS');
    same([slots.length, slots[0][0], slots[0][1], slots[0][2][1]], [1, 0, 16383, port]);
  },
  async 'what cannot be done is named'(r) {
    await refused(() => call(r, 'a', 'SINTERSTORE', 'd', 'a', 'b'), "CROSSSLOT Keys in request don't hash to the same slot");
    same(await call(r, 'a', 'BLPOP', 'a', '0.01'), null);
    same(await call(r, 'a', 'WAIT', '0', '10'), 0);
    same(await r.set('after', 'all'), 'OK');
  },
};

const version = createRequire(import.meta.url)('redis/package.json').version;
const report = new Checks(`node-redis ${version} ${mode} RESP${RESP}`);
let r;
await report.begin(async () => {
  r = await connect();
  if (PLAIN) return r.flushAll();
  const node = await r.nodeClient(r.masters[0]);
  return node.flushAll();
});
for (const group of [checks, PLAIN ? plainOnly : {}, GATEWAY ? gatewayOnly : {}]) {
  for (const [name, check] of Object.entries(group)) await report.run(name, () => check(r));
}
report.finish();
