-- 0005_holds: holds that ended are forgotten after a while.

CREATE INDEX stock_holds_ended ON stock_holds (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX stock_holds_order ON stock_holds (order_id) WHERE order_id IS NOT NULL;
