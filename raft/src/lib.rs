//! openraft over keelson-storage: log store, state machine, peer network, batching, read index.
