//! The reviewed answers: who gets what from every method. Nothing derives this table from the rules; who changes a rule changes it here
//! by hand, and who adds a method adds its lines.

/// What the words of the table mean: code and reason over gRPC and HTTP, and the status of HTTP.
pub(super) const WORDS: &[(&str, &str, &str, u16)] = &[
    ("missing", "UNAUTHENTICATED", "CREDENTIALS_MISSING", 401),
    ("invalid", "UNAUTHENTICATED", "CREDENTIALS_INVALID", 401),
    ("gone", "UNAUTHENTICATED", "USER_DISABLED", 401),
    ("scheme", "UNAUTHENTICATED", "SCHEME_NOT_OFFERED", 401),
    ("hidden", "NOT_FOUND", "NOT_FOUND", 404),
    ("denied", "PERMISSION_DENIED", "NOT_AUTHORIZED", 403),
    ("closed", "PERMISSION_DENIED", "DOMAIN_DISABLED", 403),
    ("stopped", "FAILED_PRECONDITION", "DOMAIN_DISABLED", 409),
];

/// One line per method and case, `http` for routes that no method stands behind: its name; the status of success over HTTP; the answers, in the order of the head; and what
/// `exact` holds and `almost` lacks, as kind:action.
///
/// `garbage` is a token that nobody issued. `stranger` has no role anywhere, `other` administers another domain, `member` has a
/// role in the domain that does not bear on the object, `almost` all actions on it but those needed, `exact` those and no other,
/// `owner` administers the domain, `admin` the platform, `disabled` administers the domain and is disabled since his token was issued;
/// `device` shows the secret of a client that may publish to and receive from the channel. For the `closed` ones the domain is disabled.
pub(super) const ANSWERS: &str = "
method                               ok  nobody  garbage stranger other   member  almost  exact   owner   admin   disabled closed-exact closed-owner closed-admin device  closed-device needs

users.CreateUser                     201 missing invalid denied   denied  denied  denied  denied  denied  ok      gone     denied       denied       ok           denied  denied        -
users.GetProfile                     200 missing invalid ok       ok      ok      ok      ok      ok      ok      gone     ok           ok           ok           denied  denied        -
users.EnableUser                     200 missing invalid denied   denied  denied  denied  denied  denied  ok      gone     denied       denied       ok           denied  denied        -
users.EnableUser/himself             200 missing invalid ok       ok      ok      ok      ok      ok      ok      gone     ok           ok           ok           denied  denied        -
users.EnableUser/absent              200 missing invalid denied   denied  denied  denied  denied  denied  hidden  gone     denied       denied       hidden       denied  denied        -
users.DisableUser                    200 missing invalid denied   denied  denied  denied  denied  denied  ok      gone     denied       denied       ok           denied  denied        -
users.DisableUser/absent             200 missing invalid denied   denied  denied  denied  denied  denied  hidden  gone     denied       denied       hidden       denied  denied        -
users.IssueToken                     201 ok      ok      ok       ok      ok      ok      ok      ok      ok      ok       ok           ok           ok           ok      ok            -
users.IssueToken/wrong               201 invalid invalid invalid  invalid invalid invalid invalid invalid invalid invalid  invalid      invalid      invalid      invalid invalid       -

domains.CreateDomain                 201 missing invalid ok       ok      ok      ok      ok      ok      ok      gone     ok           ok           ok           denied  denied        -
domains.GetDomain                    200 missing invalid hidden   hidden  denied  denied  ok      ok      ok      gone     closed       ok           ok           denied  denied        domain:read
domains.GetDomain/absent             200 missing invalid hidden   hidden  hidden  hidden  hidden  hidden  hidden  gone     hidden       hidden       hidden       denied  denied        -
domains.ListDomains                  200 missing invalid ok       ok      ok      ok      ok      ok      ok      gone     ok           ok           ok           denied  denied        -
domains.EnableDomain                 200 missing invalid hidden   hidden  denied  denied  ok      ok      ok      gone     ok           ok           ok           denied  denied        domain:enable
domains.DisableDomain                200 missing invalid hidden   hidden  denied  denied  ok      ok      ok      gone     ok           ok           ok           denied  denied        domain:disable

auth.CreateDomainRole                201 missing invalid hidden   hidden  denied  denied  ok      ok      ok      gone     closed       ok           ok           denied  denied        domain:manage_role
auth.DeleteDomainRole                204 missing invalid hidden   hidden  denied  denied  ok      ok      ok      gone     closed       ok           ok           denied  denied        domain:manage_role
auth.CreateClientRole                201 missing invalid hidden   hidden  hidden  denied  ok      ok      ok      gone     closed       ok           ok           denied  denied        client:manage_role
auth.CreateClientRole/domain         201 missing invalid hidden   hidden  hidden  denied  ok      ok      ok      gone     closed       ok           ok           denied  denied        domain:client_manage_role
auth.DeleteClientRole                204 missing invalid hidden   hidden  hidden  denied  ok      ok      ok      gone     closed       ok           ok           denied  denied        client:manage_role
auth.DeleteClientRole/foreign        204 missing invalid hidden   hidden  hidden  denied  hidden  hidden  hidden  gone     closed       hidden       hidden       denied  denied        client:manage_role
auth.CreateChannelRole               201 missing invalid hidden   hidden  hidden  denied  ok      ok      ok      gone     closed       ok           ok           denied  denied        channel:manage_role
auth.CreateChannelRole/domain        201 missing invalid hidden   hidden  hidden  denied  ok      ok      ok      gone     closed       ok           ok           denied  denied        domain:channel_manage_role
auth.DeleteChannelRole               204 missing invalid hidden   hidden  hidden  denied  ok      ok      ok      gone     closed       ok           ok           denied  denied        channel:manage_role

clients.CreateClient                 201 missing invalid hidden   hidden  denied  denied  ok      ok      ok      gone     closed       ok           ok           denied  denied        domain:client_create
clients.CreateClient/absent          201 missing invalid hidden   hidden  hidden  hidden  hidden  hidden  hidden  gone     hidden       hidden       hidden       denied  denied        -
clients.GetClient                    200 missing invalid hidden   hidden  hidden  denied  ok      ok      ok      gone     closed       ok           ok           denied  denied        client:read
clients.GetClient/domain             200 missing invalid hidden   hidden  hidden  hidden  ok      ok      ok      gone     closed       ok           ok           denied  denied        domain:client_read
clients.GetClient/absent             200 missing invalid hidden   hidden  hidden  hidden  hidden  hidden  hidden  gone     hidden       hidden       hidden       denied  denied        -
clients.GetClient/foreign            200 missing invalid hidden   hidden  hidden  hidden  hidden  hidden  hidden  gone     hidden       hidden       hidden       denied  denied        -
clients.GetClient/channel            200 missing invalid hidden   hidden  hidden  hidden  hidden  hidden  hidden  gone     hidden       hidden       hidden       denied  denied        -
clients.ListClients                  200 missing invalid hidden   hidden  ok      ok      ok      ok      ok      gone     closed       ok           ok           denied  denied        domain:client_read
clients.ListClients/absent           200 missing invalid hidden   hidden  hidden  hidden  hidden  hidden  hidden  gone     hidden       hidden       hidden       denied  denied        -
clients.UpdateClient                 200 missing invalid hidden   hidden  hidden  denied  ok      ok      ok      gone     closed       ok           ok           denied  denied        client:update
clients.UpdateClient/domain          200 missing invalid hidden   hidden  hidden  denied  ok      ok      ok      gone     closed       ok           ok           denied  denied        domain:client_update
clients.EnableClient                 200 missing invalid hidden   hidden  hidden  denied  ok      ok      ok      gone     closed       ok           ok           denied  denied        client:update
clients.DisableClient                200 missing invalid hidden   hidden  hidden  denied  ok      ok      ok      gone     closed       ok           ok           denied  denied        client:update
clients.DeleteClient                 204 missing invalid hidden   hidden  hidden  denied  ok      ok      ok      gone     closed       ok           ok           denied  denied        client:delete
clients.DeleteClient/foreign         204 missing invalid hidden   hidden  hidden  hidden  hidden  hidden  hidden  gone     hidden       hidden       hidden       denied  denied        -

channels.CreateChannel               201 missing invalid hidden   hidden  denied  denied  ok      ok      ok      gone     closed       ok           ok           denied  denied        domain:channel_create
channels.GetChannel                  200 missing invalid hidden   hidden  hidden  denied  ok      ok      ok      gone     closed       ok           ok           denied  denied        channel:read
channels.GetChannel/domain           200 missing invalid hidden   hidden  hidden  hidden  ok      ok      ok      gone     closed       ok           ok           denied  denied        domain:channel_read
channels.GetChannel/absent           200 missing invalid hidden   hidden  hidden  hidden  hidden  hidden  hidden  gone     hidden       hidden       hidden       denied  denied        -
channels.GetChannel/foreign          200 missing invalid hidden   hidden  hidden  hidden  hidden  hidden  hidden  gone     hidden       hidden       hidden       denied  denied        -
channels.ListChannels                200 missing invalid hidden   hidden  ok      ok      ok      ok      ok      gone     closed       ok           ok           denied  denied        domain:channel_read
channels.UpdateChannel               200 missing invalid hidden   hidden  hidden  denied  ok      ok      ok      gone     closed       ok           ok           denied  denied        channel:update
channels.UpdateChannel/domain        200 missing invalid hidden   hidden  hidden  denied  ok      ok      ok      gone     closed       ok           ok           denied  denied        domain:channel_update
channels.EnableChannel               200 missing invalid hidden   hidden  hidden  denied  ok      ok      ok      gone     closed       ok           ok           denied  denied        channel:update
channels.DisableChannel              200 missing invalid hidden   hidden  hidden  denied  ok      ok      ok      gone     closed       ok           ok           denied  denied        channel:update
channels.DeleteChannel               204 missing invalid hidden   hidden  hidden  denied  ok      ok      ok      gone     closed       ok           ok           denied  denied        channel:delete

channels.Connect                     201 missing invalid hidden   hidden  hidden  denied  ok      ok      ok      gone     closed       stopped      stopped      denied  denied        channel:connect_to_client,client:connect_to_channel
channels.Connect/one-end             201 missing invalid hidden   hidden  hidden  denied  hidden  ok      ok      gone     closed       stopped      stopped      denied  denied        channel:connect_to_client
channels.Connect/other-end           201 missing invalid hidden   hidden  hidden  hidden  hidden  ok      ok      gone     hidden       stopped      stopped      denied  denied        client:connect_to_channel
channels.Connect/foreign             201 missing invalid hidden   hidden  hidden  denied  hidden  hidden  hidden  gone     closed       hidden       hidden       denied  denied        channel:connect_to_client
channels.Disconnect                  204 missing invalid hidden   hidden  hidden  denied  ok      ok      ok      gone     closed       ok           ok           denied  denied        channel:connect_to_client,client:connect_to_channel
channels.Disconnect/one-end          204 missing invalid hidden   hidden  hidden  denied  hidden  ok      ok      gone     closed       ok           ok           denied  denied        channel:connect_to_client
channels.ConnectClients              201 missing invalid hidden   hidden  hidden  denied  ok      ok      ok      gone     closed       stopped      stopped      denied  denied        channel:connect_to_client,client:connect_to_channel
channels.ConnectClients/one-end      201 missing invalid hidden   hidden  hidden  denied  hidden  ok      ok      gone     closed       stopped      stopped      denied  denied        channel:connect_to_client
channels.ConnectClients/other-end    201 missing invalid hidden   hidden  hidden  hidden  hidden  ok      ok      gone     hidden       stopped      stopped      denied  denied        client:connect_to_channel
channels.DisconnectClients           204 missing invalid hidden   hidden  hidden  denied  ok      ok      ok      gone     closed       ok           ok           denied  denied        channel:connect_to_client,client:connect_to_channel
channels.DisconnectClients/other-end 204 missing invalid hidden   hidden  hidden  hidden  hidden  ok      ok      gone     hidden       ok           ok           denied  denied        client:connect_to_channel

messages.ReadMessages                200 missing invalid hidden   hidden  hidden  denied  ok      ok      ok      gone     closed       closed       closed       ok      closed        channel:subscribe
messages.ReadMessages/domain         200 missing invalid hidden   hidden  hidden  denied  ok      ok      ok      gone     closed       closed       closed       ok      closed        domain:channel_subscribe
messages.ReadMessages/absent         200 missing invalid hidden   hidden  hidden  hidden  hidden  hidden  hidden  gone     hidden       hidden       hidden       denied  closed        -
messages.ReadMessages/foreign        200 missing invalid hidden   hidden  hidden  hidden  hidden  hidden  hidden  gone     hidden       hidden       hidden       denied  closed        -
messages.ReadMessages/elsewhere      200 missing invalid hidden   ok      hidden  hidden  hidden  hidden  ok      gone     hidden       hidden       ok           invalid invalid       -

http.Publish                         202 missing scheme  scheme   scheme  scheme  scheme  scheme  scheme  scheme  scheme   scheme       scheme       scheme       ok      denied        -
http.Publish/subtopic                202 missing scheme  scheme   scheme  scheme  scheme  scheme  scheme  scheme  scheme   scheme       scheme       scheme       ok      denied        -
http.Publish/absent                  202 missing scheme  scheme   scheme  scheme  scheme  scheme  scheme  scheme  scheme   scheme       scheme       scheme       denied  denied        -
http.Publish/foreign                 202 missing scheme  scheme   scheme  scheme  scheme  scheme  scheme  scheme  scheme   scheme       scheme       scheme       denied  denied        -
http.Publish/elsewhere               202 missing scheme  scheme   scheme  scheme  scheme  scheme  scheme  scheme  scheme   scheme       scheme       scheme       invalid invalid       -
http.GetHealth                       200 ok      ok      ok       ok      ok      ok      ok      ok      ok      ok       ok           ok           ok           ok      ok            -
http.GetDocument                     200 ok      ok      ok       ok      ok      ok      ok      ok      ok      ok       ok           ok           ok           ok      ok            -
";
