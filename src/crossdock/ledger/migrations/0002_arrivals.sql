-- 0002_arrivals: what could not be translated is kept, and translated again when it is replayed. Forward only.

ALTER TABLE facts DROP CONSTRAINT facts_state_check;
-- untranslated: replayed, and waiting to be translated from the kept payload.
ALTER TABLE facts ADD CONSTRAINT facts_state_check
    CHECK (state IN ('waiting', 'early', 'applied', 'ignored', 'quarantined', 'untranslated'));
-- An order's timeline shows what operators did to it.
CREATE INDEX audit_subject ON audit (subject);
CREATE INDEX facts_untranslated ON facts (fact_id) WHERE state = 'untranslated';
