// A shelf in the browser (IndexedDB) that survives a closed page; memory alone where the browser allows no shelf.

type Store = "outbox" | "history";

export class Shelf {
  private readonly memory: Record<Store, Map<string, unknown>> = { outbox: new Map(), history: new Map() };

  private constructor(private readonly database: IDBDatabase | null) {}

  static async open(): Promise<Shelf> {
    return new Shelf(await openDatabase().catch(() => null));
  }

  async put<T>(store: Store, key: string, value: T): Promise<void> {
    this.memory[store].set(key, value);
    await this.write(store, (table) => table.put(value, key));
  }

  async remove(store: Store, key: string): Promise<void> {
    this.memory[store].delete(key);
    await this.write(store, (table) => table.delete(key));
  }

  /** All values whose key starts with `prefix`, in the order of their keys. */
  async all<T>(store: Store, prefix: string): Promise<T[]> {
    const range = IDBKeyRange.bound(prefix, `${prefix}\uffff`);
    if (this.database !== null) {
      try {
        return await settled(this.database.transaction(store).objectStore(store).getAll(range)) as T[];
      } catch {
        // fall through to what this page remembers
      }
    }
    const entries = [...this.memory[store]].filter(([key]) => key.startsWith(prefix));
    return entries.sort(([one], [other]) => (one < other ? -1 : 1)).map(([, value]) => value as T);
  }

  private async write(store: Store, change: (table: IDBObjectStore) => IDBRequest): Promise<void> {
    if (this.database === null) return;
    try {
      const transaction = this.database.transaction(store, "readwrite");
      change(transaction.objectStore(store));
      await new Promise<void>((done, failed) => {
        transaction.oncomplete = () => done();
        transaction.onabort = () => failed(transaction.error);
      });
    } catch {
      // a full or forbidden shelf: the memory copy still goes out from this page
    }
  }
}

function settled<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((done, failed) => {
    request.onsuccess = () => done(request.result);
    request.onerror = () => failed(request.error);
  });
}

function openDatabase(): Promise<IDBDatabase> {
  const request = indexedDB.open("tutelage-rating", 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore("outbox");
    request.result.createObjectStore("history");
  };
  return settled(request);
}
