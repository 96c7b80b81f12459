-- 0014_refused_orders: a refused order is decided again when master data that it names changes. Forward only.

-- What the order names (SKUs, GTINs, customer), and the version of the master data by which it was refused.
ALTER TABLE facts ADD COLUMN named text[];
ALTER TABLE facts ADD COLUMN refused_version bigint;
CREATE INDEX facts_refused ON facts (refused_version) WHERE state = 'quarantined' AND refused_version IS NOT NULL;
