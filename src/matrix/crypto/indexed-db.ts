import 'fake-indexeddb/auto';

/**
 * The IndexedDB in memory that the crypto library keeps its keys and sessions in. It is read out whole, and put back at a
 * start; both only while nothing else uses it.
 */

/** What is used of IndexedDB: the names of the browser's own interface. */
interface Request<T> {
  result: T;
  error: unknown;
  onsuccess: (() => void) | null;
  onerror: (() => void) | null;
}
interface ObjectStore {
  keyPath: string | string[] | null;
  autoIncrement: boolean;
  indexNames: Iterable<string>;
  index(name: string): { keyPath: string | string[]; unique: boolean; multiEntry: boolean };
  createIndex(name: string, keyPath: string | string[], options: { unique: boolean; multiEntry: boolean }): void;
  getAll(): Request<unknown[]>;
  getAllKeys(): Request<unknown[]>;
  put(value: unknown, key?: unknown): void;
  delete(key: unknown): void;
}
interface Transaction {
  objectStore(name: string): ObjectStore;
  oncomplete: (() => void) | null;
  onabort: (() => void) | null;
  error: unknown;
}
interface Database {
  version: number;
  objectStoreNames: Iterable<string>;
  transaction(names: string | string[], mode?: 'readwrite'): Transaction;
  createObjectStore(name: string, options: { keyPath?: string | string[]; autoIncrement: boolean }): ObjectStore;
  close(): void;
}
interface Factory {
  databases(): Promise<{ name: string; version: number }[]>;
  open(name: string, version?: number): Request<Database> & { onupgradeneeded: (() => void) | null };
}

/** One database as plain values. */
export interface StoredDatabase {
  name: string;
  version: number;
  stores: {
    name: string;
    keyPath: string | string[] | null;
    autoIncrement: boolean;
    indexes: { name: string; keyPath: string | string[]; unique: boolean; multiEntry: boolean }[];
    keys: unknown[];
    values: unknown[];
  }[];
}

const factory = (globalThis as unknown as { indexedDB: Factory }).indexedDB;

/** Everything that is in it. */
export async function readAll(): Promise<StoredDatabase[]> {
  const databases: StoredDatabase[] = [];
  for (const { name } of await factory.databases()) {
    const database = await answered(factory.open(name));
    const names = [...database.objectStoreNames];
    const transaction = database.transaction(names);
    const stores = await Promise.all(
      names.map(async (storeName) => {
        const store = transaction.objectStore(storeName);
        const indexes = [...store.indexNames].map((indexName) => {
          const { keyPath, unique, multiEntry } = store.index(indexName);
          return { name: indexName, keyPath, unique, multiEntry };
        });
        const [keys, values] = await Promise.all([answered(store.getAllKeys()), answered(store.getAll())]);
        return { name: storeName, keyPath: store.keyPath, autoIncrement: store.autoIncrement, indexes, keys, values };
      }),
    );
    databases.push({ name, version: database.version, stores });
    database.close();
  }
  return databases;
}

/** Puts back what `readAll` gave. */
export async function writeAll(databases: readonly StoredDatabase[]): Promise<void> {
  for (const { name, version, stores } of databases) {
    const request = factory.open(name, version);
    request.onupgradeneeded = () => {
      for (const store of stores) {
        const { keyPath, autoIncrement } = store;
        const made = request.result.createObjectStore(store.name, { ...(keyPath === null ? {} : { keyPath }), autoIncrement });
        for (const { name: indexName, ...index } of store.indexes) made.createIndex(indexName, index.keyPath, index);
      }
    };
    const database = await answered(request);
    for (const store of stores) {
      await change(database, store.name, (target) => {
        for (const [at, value] of store.values.entries()) {
          if (store.keyPath === null) target.put(value, store.keys[at]);
          else target.put(value);
        }
      });
    }
    database.close();
  }
}

/** The keys of one object store; none where there is no such store. */
export async function keysOf(databaseName: string, storeName: string): Promise<unknown[]> {
  return (await withStore(databaseName, storeName, (store) => answered(store.getAllKeys()))) ?? [];
}

export async function valuesOf(databaseName: string, storeName: string): Promise<unknown[]> {
  return (await withStore(databaseName, storeName, (store) => answered(store.getAll()))) ?? [];
}

export async function removeKeys(databaseName: string, storeName: string, keys: readonly unknown[]): Promise<void> {
  const database = await answered(factory.open(databaseName));
  await change(database, storeName, (store) => {
    for (const key of keys) store.delete(key);
  });
  database.close();
}

async function withStore<T>(databaseName: string, storeName: string, work: (store: ObjectStore) => Promise<T>): Promise<T | null> {
  const database = await answered(factory.open(databaseName));
  try {
    return [...database.objectStoreNames].includes(storeName) ? await work(database.transaction(storeName).objectStore(storeName)) : null;
  } finally {
    database.close();
  }
}

async function change(database: Database, storeName: string, work: (store: ObjectStore) => void): Promise<void> {
  const transaction = database.transaction(storeName, 'readwrite');
  await new Promise<void>((resolve, reject) => {
    transaction.oncomplete = () => {
      resolve();
    };
    transaction.onabort = () => {
      reject(asError(transaction.error));
    };
    work(transaction.objectStore(storeName));
  });
}

async function answered<T>(request: Request<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => {
      resolve(request.result);
    };
    request.onerror = () => {
      reject(asError(request.error));
    };
  });
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error('IndexedDB failed');
}
