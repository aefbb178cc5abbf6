-- What replicas share: one row. A change replaces it only if change_id is still the one that the gate has read.
create table license_gate.state (
    id int primary key default 1 check (id = 1),
    -- Counts every change; 0: there never was one.
    revision bigint not null default 0,
    -- Random id of the last change of the license; empty: there never was one.
    change_id text not null default '',
    token text,
    revocations text,
    revocations_seq bigint,
    newest_time bigint
);
insert into license_gate.state default values;

-- Former licenses. Ids sort by the order of replacement, byte by byte.
create table license_gate.history (
    id text collate "C" primary key,
    replaced_at bigint not null,
    token text not null
);

-- The audit log: lines of JSON, each with the hash of the previous line.
create table license_gate.audit (
    seq bigint primary key,
    line text not null,
    hash text not null,
    change_id text unique
);

-- Tasks that one replica at a time performs.
create table license_gate.lease (
    name text primary key,
    holder text not null,
    until timestamptz not null
);

-- Events to be sent to notify.url, and the keys of those that were sent.
create table license_gate.events (
    key text primary key,
    body text not null,
    attempts int not null default 0,
    due bigint not null,
    settled boolean not null default false,
    posted timestamptz not null default clock_timestamp()
);
create index events_due on license_gate.events (due) where not settled
