-- 0002_arrivals: what could not be translated is kept, and translated again when it is replayed. Forward only.

ALTER TABLE facts DROP CONSTRAINT facts_state_check;
-- untranslated: replayed, and waiting to be translated from the kept payload.
ALTER TABLE facts ADD CONSTRAINT facts_state_check
    CHECK (state IN ('waiting', 'early', 'applied', 'ignored', 'quarantined', 'untranslated'));
-- Applied reports of state, by age: what the retention sweep looks for.
CREATE INDEX facts_state_reports ON facts (received_at)
    WHERE state IN ('applied', 'ignored') AND order_id IS NULL
      AND kind IN ('product.published', 'customer.published', 'price.published', 'balances.reported');
-- An administrator could do just what an operator can: one role less.
UPDATE console_users SET role = 'operator' WHERE role = 'administrator';
ALTER TABLE console_users DROP CONSTRAINT console_users_role_check;
ALTER TABLE console_users ADD CONSTRAINT console_users_role_check CHECK (role IN ('viewer', 'operator'));
-- An order's timeline shows what operators did to it.
CREATE INDEX audit_subject ON audit (subject);
CREATE INDEX facts_untranslated ON facts (fact_id) WHERE state = 'untranslated';

-- Movements with watermarks (0003) take its place.
DROP TABLE stock_departures;
