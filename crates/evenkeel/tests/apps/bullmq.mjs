// BullMQ: queues with workers, delays, retries, priorities, repeats and flows. Its scripts name several keys, so the
// prefix of all keys is a hash tag: `{bull}`.
//
//     bullmq.mjs HOST PORT

import assert from "node:assert";
import { FlowProducer, Queue, QueueEvents, Worker } from "bullmq";

const connection = { host: process.argv[2], port: Number(process.argv[3]), maxRetriesPerRequest: null };
const options = { connection, prefix: "{bull}" };
const queue = new Queue("work", options);
await queue.obliterate({ force: true });
const events = new QueueEvents("work", options);
await events.waitUntilReady();
const seen = [];
const worker = new Worker(
  "work",
  async (job) => {
    seen.push(job.name);
    if (job.name === "stumble" && job.attemptsMade < 2) throw new Error("not yet");
    if (job.name === "total") return Object.values(await job.getChildrenValues()).reduce((a, b) => a + b, 0);
    return job.data.a + job.data.b;
  },
  { ...options, concurrency: 5 },
);
await worker.waitUntilReady();

const wait = (job) => job.waitUntilFinished(events, 60_000);
const jobs = await queue.addBulk(Array.from({ length: 50 }, (_, n) => ({ name: "add", data: { a: n, b: n } })));
assert.deepEqual(await Promise.all(jobs.map(wait)), jobs.map((_, n) => 2 * n));
assert.equal(await wait(await queue.add("later", { a: 1, b: 2 }, { delay: 500 })), 3);
assert.equal(await wait(await queue.add("stumble", { a: 2, b: 2 }, { attempts: 3, backoff: 50 })), 4);
assert.equal(await wait(await queue.add("urgent", { a: 3, b: 2 }, { priority: 1 })), 5);
await queue.pause();
const held = await queue.add("held", { a: 1, b: 1 });
assert.equal(await held.getState(), "waiting");
await queue.resume();
assert.equal(await wait(held), 2);
const flows = new FlowProducer(options);
const children = [1, 2, 3].map((n) => ({ name: "add", data: { a: n, b: n }, queueName: "work" }));
const flow = await flows.add({ name: "total", queueName: "work", children });
assert.equal(await wait(flow.job), 12);
await queue.upsertJobScheduler("every", { every: 300, limit: 3 }, { name: "tick", data: { a: 0, b: 1 } });
const deadline = Date.now() + 20_000;
while (seen.filter((name) => name === "tick").length < 2 && Date.now() < deadline) {
  await new Promise((done) => setTimeout(done, 50));
}
assert.ok(seen.filter((name) => name === "tick").length >= 2, "a repeated job does not come again");
await queue.removeJobScheduler("every");
const counts = await queue.getJobCounts("completed", "failed", "active");
assert.ok(counts.completed >= 50 && counts.failed === 0, JSON.stringify(counts));
await worker.close();
await events.close();
await flows.close();
await queue.close();
console.log("BullMQ: 50 jobs, a delay, retries, a priority, a pause, a flow, a repeated job");
process.exit(0);
