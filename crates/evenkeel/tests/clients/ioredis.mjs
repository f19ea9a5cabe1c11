// ioredis against an address: ioredis.mjs HOST PORT plain|cluster gateway|server
//
// `server` leaves out what only the gateway does, so that the same checks tell whether the library or the gateway
// is to blame: run `plain` against a lone redis-server, `cluster` against a lone one in cluster mode.

import { randomBytes } from 'node:crypto';
import { createRequire } from 'node:module';
import Redis from 'ioredis';
import { Checks, numbers, refused, same } from './checks.mjs';

const [host, portText, mode, target] = process.argv.slice(2);
const port = Number(portText);
const PLAIN = mode === 'plain';
const GATEWAY = target === 'gateway';

function connect() {
  const client = PLAIN
    ? new Redis({ host, port, maxRetriesPerRequest: 2 })
    : new Redis.Cluster([{ host, port }], { redisOptions: { maxRetriesPerRequest: 2 } });
  client.on('error', () => {}); // a lost connection fails the check that needed it
  return client;
}

async function until(test) {
  while (!test()) await new Promise((done) => setTimeout(done, 5));
}

const valuesOf = (replies) => replies.map(([error, value]) => error ?? value);

const checks = {
  async 'strings'(r) {
    same(await r.set('s', 'one'), 'OK');
    same(await r.append('s', ' two'), 7);
    same(await r.getrange('s', 4, -1), 'two');
    same(await r.setrange('s', 0, 'ONE'), 7);
    same(await r.strlen('s'), 7);
    same(await r.get('absent'), null);
    same(await r.set('s', 'x', 'NX'), null);
    same(await r.getset('s', 'new'), 'ONE two');
    same(await r.getdel('s'), 'new');
    same([await r.incr('n'), await r.incrby('n', 9), await r.decr('n')], [1, 10, 9]);
    same(await r.incrbyfloat('f', 1.5), '1.5');
    same([await r.set('empty', ''), await r.get('empty')], ['OK', '']);
  },
  async 'hashes'(r) {
    same(await r.hset('h', { a: 1, b: 2, c: 'x' }), 3);
    same(await r.hgetall('h'), { a: '1', b: '2', c: 'x' });
    same(await r.hmget('h', 'a', 'nope', 'c'), ['1', null, 'x']);
    same([await r.hlen('h'), await r.hincrby('h', 'a', 4), await r.hdel('h', 'b')], [3, 5, 1]);
    await r.hset('big-hash', Object.fromEntries(numbers(2000).map((i) => [`f${i}`, i])));
    const seen = new Set();
    for await (const page of r.hscanStream('big-hash')) page.forEach((item, i) => i % 2 || seen.add(item));
    same(seen.size, 2000);
  },
  async 'lists'(r) {
    same(await r.rpush('l', ...numbers(10)), 10);
    same(await r.lrange('l', 0, 2), ['0', '1', '2']);
    same([await r.lpop('l'), await r.rpop('l'), await r.lpop('l', 2)], ['0', '9', ['1', '2']]);
    same([await r.llen('l'), await r.lindex('l', 0), await r.lrem('l', 1, '5')], [6, '3', 1]);
    same(await r.lmove('l', 'l', 'LEFT', 'RIGHT'), '3');
    same(await r.lpos('l', '4'), 0);
  },
  async 'sets'(r) {
    same(await r.sadd('{s}a', 1, 2, 3), 3);
    same(await r.sadd('{s}b', 2, 3, 4), 3);
    same((await r.sinter('{s}a', '{s}b')).sort(), ['2', '3']);
    same((await r.sunion('{s}a', '{s}b')).length, 4);
    same(await r.sinterstore('{s}c', '{s}a', '{s}b'), 2);
    same(await r.smismember('{s}a', 1, 9), [1, 0]);
    same([await r.smove('{s}a', '{s}b', 1), await r.scard('{s}a')], [1, 2]);
  },
  async 'sorted sets'(r) {
    same(await r.zadd('{z}a', 1, 'one', 2, 'two', 3, 'three'), 3);
    same(await r.zrange('{z}a', 0, -1, 'WITHSCORES'), ['one', '1', 'two', '2', 'three', '3']);
    same([await r.zscore('{z}a', 'two'), await r.zscore('{z}a', 'no'), await r.zrank('{z}a', 'two')], ['2', null, 1]);
    same(await r.zrangebyscore('{z}a', '-inf', '(3'), ['one', 'two']);
    await r.zadd('{z}b', 5, 'two');
    same(await r.zunionstore('{z}c', 2, '{z}a', '{z}b'), 3);
    same(await r.zpopmax('{z}c'), ['two', '7']);
  },
  async 'streams'(r) {
    const first = await r.xadd('st', '*', 'a', 1);
    await r.xadd('st', '*', 'a', 2);
    same(await r.xlen('st'), 2);
    same((await r.xrange('st', '-', '+'))[0], [first, ['a', '1']]);
    same(await r.xgroup('CREATE', 'st', 'group', '0'), 'OK');
    same((await r.xread('COUNT', 10, 'STREAMS', 'st', '0'))[0][1].length, 2);
    same((await r.xreadgroup('GROUP', 'group', 'me', 'COUNT', 1, 'STREAMS', 'st', '>'))[0][0], 'st');
    same(await r.xack('st', 'group', first), 1);
    same((await r.xinfo('STREAM', 'st'))[1], 2);
  },
  async 'counters, bits and places'(r) {
    same(await r.pfadd('{hll}a', ...numbers(1000)), 1);
    await r.pfadd('{hll}b', ...numbers(1500));
    same(await r.pfmerge('{hll}c', '{hll}a', '{hll}b'), 'OK');
    same(Math.abs((await r.pfcount('{hll}c')) - 1500) < 60, true);
    same([await r.setbit('{b}a', 7, 1), await r.bitcount('{b}a'), await r.bitop('NOT', '{b}b', '{b}a')], [0, 1, 1]);
    same(await r.bitfield('bf', 'SET', 'u8', 0, 200, 'GET', 'u8', 0), [0, 200]);
    same(await r.geoadd('geo', 13.361389, 38.115556, 'Palermo', 15.087269, 37.502669, 'Catania'), 2);
    same(Math.round(await r.geodist('geo', 'Palermo', 'Catania', 'KM')), 166);
    same(await r.geosearch('geo', 'FROMLONLAT', 15, 37, 'BYRADIUS', 100, 'km'), ['Catania']);
  },
  async 'expiry and keys of any type'(r) {
    same(await r.set('e', 1, 'EX', 100), 'OK');
    same([await r.ttl('absent'), await r.persist('e'), await r.ttl('e'), await r.expire('e', 50)], [-2, 1, -1, 1]);
    await r.set('soon', 1, 'PX', 60);
    await new Promise((done) => setTimeout(done, 200));
    same(await r.get('soon'), null);
    await r.set('{k}a', 'v');
    same([await r.type('{k}a'), await r.object('ENCODING', '{k}a')], ['string', 'embstr']);
    same([await r.rename('{k}a', '{k}b'), await r.copy('{k}b', '{k}c'), await r.get('{k}c')], ['OK', 1, 'v']);
    same(await r.restore('{k}d', 0, await r.dumpBuffer('{k}c')), 'OK');
    await r.rpush('{k}list', 3, 1, 2);
    same(await r.sort('{k}list', 'STORE', '{k}sorted'), 3);
    same(await r.lrange('{k}sorted', 0, -1), ['1', '2', '3']);
  },
  async 'a thousand at once over many slots'(r) {
    same(await Promise.all(numbers(1000).map((i) => r.set(`p:${i}`, `value ${i}`))), numbers(1000).map(() => 'OK'));
    same(await Promise.all(numbers(1000).map((i) => r.get(`p:${i}`))), numbers(1000).map((i) => `value ${i}`));
  },
  async 'a pipeline keeps its order, errors too'(r) {
    // The cluster client wants a pipeline's keys on one node by its own map.
    const pipe = r.pipeline();
    for (const i of numbers(300)) pipe.set(`m:${i}`, i).incr(`m:${i}`).lpush(`m:${i}`, 'wrong').get(`m:${i}`);
    const replies = valuesOf(await pipe.exec());
    same(replies.length, 1200);
    for (const i of numbers(300)) {
      const [ok, number, error, value] = replies.slice(i * 4, i * 4 + 4);
      same([ok, number, value], ['OK', i + 1, String(i + 1)]);
      same(/^WRONGTYPE/.test(error.message), true);
    }
  },
  async 'transactions'(r) {
    same(valuesOf(await r.multi().set('{x}a', 1).incr('{x}a').get('{x}a').exec()), ['OK', 2, '2']);
    same(await r.multi().set('{x}a', 'again').get('{x}a').exec().then(valuesOf), ['OK', 'again']);
    await refused(() => r.multi().set('{x}a', 1).call('GET', '{x}a', 'too', 'many').exec(), 'Transaction discarded');
    same(await r.get('{x}a'), 'again');
  },
  async 'scripts'(r) {
    same(await r.eval('return {KEYS[1], ARGV[1], 7, {1, {2}}}', 1, 'k', 'v'), ['k', 'v', 7, [1, [2]]]);
    same(await r.eval("return redis.call('set', KEYS[1], ARGV[1])", 1, 'scripted', 'yes'), 'OK');
    const sha = await r.script('LOAD', "return redis.call('get', KEYS[1])");
    for (const i of numbers(30)) {
      await r.set(`sha:${i}`, i);
      same(await r.evalsha(sha, 1, `sha:${i}`), String(i));
    }
    same(await r.script('EXISTS', sha, '0'.repeat(40)), [1, 0]);
    await refused(() => r.evalsha('0'.repeat(40), 1, 'k'), 'NOSCRIPT');
    r.defineCommand('greet', { numberOfKeys: 1, lua: "return ARGV[1] .. redis.call('get', KEYS[1])" });
    same(await r.greet('scripted', 'say '), 'say yes');
    same(await r.greet('scripted', 'say '), 'say yes');
  },
  async 'big values and any bytes'(r) {
    for (const size of [1 << 20, 20 << 20]) {
      const value = randomBytes(size);
      same(await r.set('big', value), 'OK');
      same((await r.getBuffer('big')).equals(value), true);
    }
    same(await r.del('big'), 1);
    const every = Buffer.from(numbers(256));
    for (const key of [every, Buffer.from('a\r\nb'), Buffer.from('{}a'), Buffer.from('{a'), Buffer.from([0])]) {
      same(await r.set(key, every), 'OK');
      same((await r.getBuffer(key)).equals(every), true);
    }
    for (const word of ['schöne Grüße', 'ключ', '鍵', '🔑 {🔒}']) {
      same([await r.set(word, word), await r.get(word)], ['OK', word]);
    }
  },
  async 'errors'(r) {
    await r.set('string', 'x');
    await refused(() => r.lpush('string', 1), 'WRONGTYPE');
    await refused(() => r.incr('string'), 'not an integer');
    await refused(() => r.call('NOSUCHCOMMAND', 'a'), "unknown command 'NOSUCHCOMMAND'");
    await refused(() => r.call('GET', 'a', 'b'), "wrong number of arguments for 'get' command");
    same(await r.get('string'), 'x');
  },
  async 'server facts'(r) {
    const info = await r.info();
    same([/redis_version:/.test(info), /db0:keys=/.test(info)], [true, true]);
    same((await r.dbsize()) > 1000, true);
    same((await r.command('COUNT')) > 200, true);
    same((await r.cluster('INFO').catch((error) => error.message)).length > 0, true);
    same(await r.publish('channel', 'nobody listens'), 0);
  },
  async 'subscriptions'(r) {
    const heard = [];
    const subscriber = connect();
    subscriber.on('message', (channel, text) => heard.push(`${channel} ${text}`));
    subscriber.on('pmessage', (pattern, channel, text) => heard.push(`${pattern} ${channel} ${text}`));
    same(await subscriber.subscribe('news', 'more'), 2);
    same(await subscriber.psubscribe('n?ws'), 3);
    same([await r.publish('news', 'hello'), await r.publish('more', 'x'), await r.publish('other', 'y')], [2, 1, 0]);
    await until(() => heard.length === 3);
    same(heard.sort(), ['more x', 'n?ws news hello', 'news hello']);
    for (const i of numbers(200)) r.publish('more', i);
    await until(() => heard.length === 203);
    same(heard.slice(3), numbers(200).map((i) => `more ${i}`));
    same([await subscriber.unsubscribe('news'), await subscriber.punsubscribe('n?ws')], [2, 1]);
    same(await r.publish('news', 'nobody'), 0);
    subscriber.disconnect();
  },
  async 'many clients at once'() {
    await Promise.all(numbers(16).map(async (number) => {
      const r = connect();
      for (const turn of numbers(40)) {
        const jobs = numbers(10).flatMap((i) => {
          const value = `${number} ${turn} ${i}${'.'.repeat(i * 100)}`;
          return [r.set(`mc:${number}:${i}`, value), r.get(`mc:${number}:${i}`).then((got) => same(got, value))];
        });
        await Promise.all(jobs);
      }
      r.disconnect();
    }));
  },
};

const plainOnly = {
  async 'commands split over slots'(r) {
    const keys = numbers(500).map((i) => `split:${i}`);
    same(await r.mset(Object.fromEntries(keys.map((key) => [key, key.toUpperCase()]))), 'OK');
    same(await r.mget(keys), keys.map((key) => key.toUpperCase()));
    same(await r.mget(keys[3], 'absent', keys[3], keys[1]), ['SPLIT:3', null, 'SPLIT:3', 'SPLIT:1']);
    same([await r.exists(...keys, 'absent'), await r.touch(...keys)], [500, 500]);
    same([await r.del(...keys.slice(0, 200)), await r.unlink(...keys), await r.exists(...keys)], [200, 300, 0]);
    await refused(() => r.mset('a', 1, 'b'), 'wrong number of arguments');
  },
  async 'the connection'(r) {
    const other = connect();
    same(await r.ping(), 'PONG');
    same([await r.client('SETNAME', 'checks'), await r.client('GETNAME'), await other.client('GETNAME')], ['OK', 'checks', null]);
    same((await r.client('ID')) !== (await other.client('ID')), true);
    same(/name=checks/.test(await r.client('LIST')), true);
    same([await r.echo('hello'), await r.select(0)], ['hello', 'OK']);
    same((await r.time()).length, 2);
    other.disconnect();
  },
};

const gatewayOnly = {
  async 'one node with every slot'(r) {
    const slots = await r.cluster('SLOTS');
    same([slots.length, slots[0][0], slots[0][1], slots[0][2][1]], [1, 0, 16383, port]);
    same(await r.cluster('KEYSLOT', 'foo'), 12182);
    same(/0-16383/.test(await r.cluster('NODES')), true);
  },
  async 'keys of two slots are turned down'(r) {
    if (!PLAIN) return; // the cluster client does it itself
    await refused(() => r.sinterstore('d', 'a', 'b'), "CROSSSLOT Keys in request don't hash to the same slot");
    await refused(() => r.rename('a', 'b'), 'CROSSSLOT');
    same(await r.ping(), 'PONG');
  },
  async 'what is not there yet is named'(r) {
    const one = PLAIN ? r : r.nodes('master')[0];
    same(await one.call('BLPOP', 'a', 0.01), null);
    same(await one.call('WAIT', 0, 10), 0);
    await refused(() => one.call('SHUTDOWN'), 'SHUTDOWN');
    same(await one.ping(), 'PONG');
  },
};

const scanning = {
  async 'scanning'(r) {
    // flushall and scanning go to a node, not through the cluster client's map
    const one = PLAIN ? r : r.nodes('master')[0];
    same(await one.flushall(), 'OK');
    await Promise.all(numbers(5000).map((i) => r.set(`scan:${i}`, i)));
    const walk = async (options) => {
      const seen = new Set();
      for await (const page of one.scanStream(options)) page.forEach((key) => seen.add(key));
      return seen;
    };
    same((await walk({ count: 100 })).size, 5000);
    same((await walk({ match: 'scan:12*', count: 500 })).size, 111);
    same((await walk({ type: 'list' })).size, 0);
    same([await one.dbsize(), (await one.keys('scan:*')).length], [5000, 5000]);
    same(/^scan:/.test(await one.randomkey()), true);
    same([await one.flushall(), await one.dbsize(), await one.randomkey()], ['OK', 0, null]);
  },
};

const version = createRequire(import.meta.url)('ioredis/package.json').version;
const report = new Checks(`ioredis ${version} ${mode}`);
const r = connect();
await report.begin(async () => {
  await r.ping();
  await (PLAIN ? r : r.nodes('master')[0]).flushall();
});
for (const group of [checks, PLAIN ? plainOnly : {}, GATEWAY ? gatewayOnly : {}, scanning]) {
  for (const [name, check] of Object.entries(group)) await report.run(name, () => check(r));
}
report.finish();
