//! The end of a connection to a broker, for whoever goes on with the same event loop.

use rumqttc::v5::EventLoop;

/// Forgets a connection that is gone. What rumqttc 0.25.1 keeps of it beyond [`EventLoop::clean`] would be handed out on the
/// next one, behind its ConnAck: packets that were read before (a SubAck of then says nothing of now), and a publish that waits for
/// an identifier, before which nothing else goes out.
pub(crate) fn forget(events: &mut EventLoop) {
    events.clean();
    events.state.events.clear();
    events.state.collision = None;
}
