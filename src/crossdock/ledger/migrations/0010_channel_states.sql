-- 0010_channel_states: orders of one channel in a seldom state are found by an index of their own. State and channel stood
-- in two tables: with a million orders, a page of a channel's cancelled orders looked at each cancelled order there is.
ALTER TABLE order_progress ADD COLUMN channel text NOT NULL DEFAULT '';
UPDATE order_progress p SET channel = o.channel FROM orders o WHERE o.order_id = p.order_id;
CREATE INDEX order_progress_channel ON order_progress (channel, state, order_id DESC)
    WHERE state IN ('held', 'cancelled');
