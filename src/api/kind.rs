//! Kinds of problems: every `type` that a problem document can have, with its title and what it means.

macro_rules! kinds {
    ($($kind:ident $name:literal, $title:literal, $meaning:literal;)*) => {
        /// The `type` of a problem, without `urn:rollcall:`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum Kind {
            $(#[doc = $meaning] $kind,)*
        }

        impl Kind {
            /// All of them.
            pub(super) const ALL: &[Self] = &[$(Self::$kind,)*];

            /// What stands at the end of the `type`.
            pub(super) const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// The whole `type`.
            pub(super) fn urn(self) -> String {
                format!("urn:rollcall:{}", self.name())
            }

            /// The same sentence for every problem of the kind.
            pub(super) const fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)* }
            }

            /// What it means and what to do about it, for those who write clients.
            pub(super) const fn meaning(self) -> &'static str {
                match self { $(Self::$kind => $meaning,)* }
            }
        }
    };
}

kinds! {
    BadRequest "bad-request", "The request is not well formed",
        "The request breaks HTTP, or a precondition cannot be read. Sending it again does not help.";
    NotJson "not-json", "The body is not JSON",
        "The body is no JSON, nests too deep, or something follows it.";
    ForeignOrigin "foreign-origin", "The request comes from another site",
        "A browser sent a write for a page of another origin.";
    NoRoute "no-route", "There is nothing at this path",
        "No route has this path.";
    NoInstance "no-instance", "There is no such instance",
        "Nobody is registered under this id. Whoever wanted to renew registers again.";
    NoCheck "no-check", "The instance has no such check",
        "The instance is registered without a check of this name.";
    NoLease "no-lease", "There is no such lease",
        "The lease is unknown, revoked or lapsed.";
    NoSettings "no-settings", "The service has no settings",
        "Nothing is set for the service: the server's own settings hold.";
    NoMethod "no-method", "The path does not have this method",
        "The header `Allow` names the methods of this path.";
    TooSlow "too-slow", "The body came too slowly",
        "The body did not arrive in time. Send the request again, over another connection.";
    ChangedMeanwhile "changed-meanwhile", "The instance changed meanwhile",
        "The instance left, or somebody else changed its state, while this call waited. Look at it anew.";
    LeaseNotShared "lease-not-shared", "The lease is another instance's own",
        "The lease was granted for another instance alone. Grant one with `POST /v1/leases` and register both on that.";
    NameTaken "name-taken", "The name is taken",
        "The service, id, tag or named port would capture a name that means something else already.";
    ProbedCheck "probed-check", "The check is probed",
        "Only a check of type `ttl` is reported on. The others find out for themselves.";
    NoOwnLease "no-own-lease", "The instance has no lease of its own",
        "The instance is on a lease that others may share, or on none.";
    StaleGeneration "stale-generation", "A newer generation is registered",
        "A newer start of the instance is registered. An older one does not replace it.";
    Superseded "superseded", "Another instance has taken its place",
        "An instance under another id registered the same address and port later.";
    CursorGone "cursor-gone", "The cursor is too old",
        "The list has moved on since the page that the cursor is from. Begin again without a cursor.";
    BeyondHistory "beyond-history", "The journal does not reach back that far",
        "What happened at that time is no longer known, or was before the journal began. `begins` of `GET /v1/events` says \
         from when on it is.";
    LeaseGone "lease-gone", "The lease is not alive",
        "The lease lapsed, was revoked or never granted. Register again, or grant another first to register on. After \
         a renewal `ids` lists all that are not alive.";
    PreconditionFailed "precondition-failed", "The precondition does not hold",
        "`If-Match` or `If-None-Match` does not hold: somebody else was here. Read the instance and decide anew.";
    TooLarge "too-large", "The body is too large",
        "The body has more octets than this call takes.";
    MediaType "media-type", "The body is of another media type",
        "The body is to have the header `content-type: application/json`, or what else the call takes.";
    Misdirected "misdirected", "The request names another host",
        "A request from the server's own machine names it by an IP address, by `localhost` or by a name below that.";
    InvalidName "invalid-name", "DNS cannot carry the name",
        "The name breaks the rules of DNS. `nearest` is the nearest name that can be used, when there is one.";
    InvalidParameter "invalid-parameter", "A parameter is not possible",
        "A parameter of the query is out of range, stands twice, or does not exist.";
    BadSnapshot "bad-snapshot", "This is no whole snapshot",
        "The lines are not those of a snapshot, were cut or changed. `line` says where. Nothing has changed.";
    InvalidValue "invalid-value", "A value is not possible",
        "A value of the body is out of range or of another type, or the field does not exist. `pointer` says where.";
    Internal "internal", "The server is at fault",
        "A defect of the server.";
    Busy "busy", "The server has its hands full",
        "Too many large answers, or as much of the journal as may be, are being read. Try again, or ask for smaller pages.";
    TooManyWaiting "too-many-waiting", "Too many requests wait",
        "As many requests wait for a change as may. Ask without waiting, or try again later.";
    Unavailable "unavailable", "The registry is not available",
        "The registry is loading, closing, or could not keep a change. Try again.";
    RegistryFull "registry-full", "The registry is full",
        "There are as many instances, leases or settings as there may be.";
    ServiceFull "service-full", "The service is full",
        "The service has as many instances as one may.";
}
