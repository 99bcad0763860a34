PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS devices (id INTEGER PRIMARY KEY, place TEXT NOT NULL, status TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS stock (
    device_id INTEGER NOT NULL REFERENCES devices,
    product TEXT NOT NULL,
    price_cents INTEGER NOT NULL,
    quantity INTEGER NOT NULL,
    PRIMARY KEY (device_id, product)
);
CREATE TABLE IF NOT EXISTS sales (
    id INTEGER PRIMARY KEY,
    device_id INTEGER NOT NULL REFERENCES devices,
    product TEXT NOT NULL,
    cents INTEGER NOT NULL
);
INSERT OR IGNORE INTO devices VALUES (1, 'station', 'online'), (2, 'library', 'online'), (3, 'harbour', 'offline');
INSERT OR IGNORE INTO stock VALUES (1, 'crisps', 150, 500), (1, 'water', 100, 500), (2, 'crisps', 160, 500);
