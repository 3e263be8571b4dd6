// node bench/crypto-soak.ts STORE TRANSACTIONS: what keeping a device costs, as one line of JSON.
import { setFlagsFromString } from 'node:v8';
import { Device } from '../src/matrix/crypto/device.ts';
import { DeviceStore } from '../src/store/device.ts';
import { Store } from '../src/store/store.ts';
import { residentMemory } from './memory.ts';

const [path = '', transactions = '0'] = process.argv.slice(2);
const measured = 200;
/** Transactions of the key store that one commit has: the keys of the sessions, and all of every database. */
const ofOneCommit = 2;

// As the daemon sets it.
setFlagsFromString('--semi-space-growth-factor=1');
const store = Store.open(path);
const devices = new DeviceStore(store);
const kept = devices.get();
if (kept?.snapshot == null) throw new Error('there is no device in the store');
const { userId, deviceId, snapshot } = kept;
const device = await Device.open({
  ...{ userId, deviceId, snapshot },
  client: () => {
    throw new Error('nothing is sent');
  },
  keep: (taken, more) =>
    store.transaction(() => {
      devices.put(userId, deviceId, taken, Date.now());
      return more();
    }),
});
for (let warm = 0; warm < measured; warm += 1) await device.commit();
const milliseconds: number[] = [];
for (let round = 0; round < measured; round += 1) {
  const begin = performance.now();
  await device.commit();
  milliseconds.push(performance.now() - begin);
}
const before = residentMemory(process.pid);
for (let done = 0; done < Number(transactions); done += ofOneCommit) await device.commit();
const grown = residentMemory(process.pid) - before;
process.stdout.write(JSON.stringify({ milliseconds, bytes: devices.about()?.bytes ?? 0, grown }));
store.close();
process.exit(0);
