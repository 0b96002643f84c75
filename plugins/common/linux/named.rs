//! Namespaces with names, as `ip netns` keeps them: each pinned by a mount on a file in `/run/netns`.
