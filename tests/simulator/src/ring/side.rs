//! The drivers of transactions over several groups in the world of their group.

use store_engine::front::NodeResponse;

use crate::crossing::CrossSide;
use crate::world::World;

impl World {
    /// Starts the driver of a node that has just started, on a ring.
    pub(crate) fn start_cross(&mut self, node: usize) {
        let Some(place) = &self.place else { return };
        let driver = &mut self.drivers[node];
        let Some(up) = &mut driver.up else { return };
        let (id, status) = (driver.member.node, up.node.status());
        let start = || CrossSide::start(place, id, &driver.table, &driver.clock, &status);
        up.cross = Some(self.tasks.inside(start));
        self.carry_cross();
    }

    /// Takes up the tasks that lives of nodes have begun, and carries what they made. False: they began none.
    pub(crate) fn carry_cross(&mut self) -> bool {
        let Some(place) = &self.place else { return false };
        let begun = place.take_begun();
        let is_any = !begun.is_empty();
        begun.into_iter().for_each(|task| self.tasks.spawn_aside(task));
        for node in 0..self.drivers.len() {
            if self.drivers[node].paused > 0 {
                continue;
            }
            let Some(up) = &mut self.drivers[node].up else { continue };
            let Some(cross) = &up.cross else { continue };
            let (kv_service, has_appends) = (&mut up.kv_service, cross.host.has_appends());
            let answer = |(request_id, response)| {
                kv_service.answer(request_id, NodeResponse::Made(Box::new(response)), None, Some(cross))
            };
            let made = cross.host.take_made();
            let answers: Vec<_> = self.tasks.inside(|| made.into_iter().filter_map(answer).collect());
            answers.into_iter().for_each(|answered| self.answer(node, answered));
            if has_appends {
                self.schedule(node);
            }
        }
        is_any
    }
}
