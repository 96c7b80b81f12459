// The saga as a Restate service: five durable steps, each at a partner that does nothing but write it down.
// node restate_service.mjs <folder with node_modules> <port> <deliveries.log>
import { openSync, writeSync } from "node:fs";
import { createRequire } from "node:module";

// The SDK wants it; Node.js has it from version 22 on.
Promise.withResolvers ??= () => {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
};

const [folder, port, log] = process.argv.slice(2);
const restate = createRequire(`${folder}/package.json`)("@restatedev/restate-sdk");
const file = openSync(log, "a");
const STEPS = 5;

function deliver(number, place) {
  const nanoseconds = BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000)) * 1000n;
  writeSync(file, `${number} ${place} ${nanoseconds}\n`);
  return {};
}

const saga = restate.service({
  name: "saga",
  handlers: {
    run: async (context, order) => {
      for (let place = 0; place < STEPS; place += 1) {
        await context.run(`deliver ${place}`, () => deliver(order.number, place));
      }
      return "completed";
    },
  },
});

restate.serve({ services: [saga], port: Number(port) });
