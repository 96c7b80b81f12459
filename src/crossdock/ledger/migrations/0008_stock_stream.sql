-- 0008_stock_stream: the order in which promises changed, for those who listen.

-- Written by the planner of publications, of which one works at a time: positions commit in their order. Only the
-- newest are kept; who was away for longer reads the present anew.
CREATE TABLE stock_stream (
    position  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sku       text NOT NULL
);
