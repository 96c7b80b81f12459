-- 0013_lane_holders: which worker performs a lane that only one may, because its partner does not bear more.
ALTER TABLE lanes ADD COLUMN held_by text;
