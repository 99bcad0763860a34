"""
Secrets to be found, and what looks like them and is none.

Tokens are put together from pieces, so that no scanner of repositories takes them for real ones. None of them is.
"""

from base64 import b64encode

SECRET = "hunter2-s3cr3t"
JWT = ".".join(["eyJ" + "hbGciOiJIUzI1NiJ9", "eyJ" + "zdWIiOiI0MiJ9", "abc_DEF-123"])
OPAQUE = "9f86d081884c7d659a2feaa0c55ad015"
LONG = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
MIXED = "Abc123_def456-ghi789jkl012mno345pqr"
CARDS = (
    *("4111111111111111", "4111 1111 1111 1111", "4111-1111-1111-1111", "5500005555555559", "2223003122003222"),
    *("378282246310005", "3782 822463 10005", "6011111111111117", "3530111333300000", "4000056655665556"),
    *("4222222222222", "5105105105105100", "5105-1051-0510-5100", "5105 1051 0510 5100", "371449635398431"),
    *("3714-496353-98431", "38520000023237", "30569309025904", "6011000990139424", "6205500000000000004"),
)
KEY_BLOCK = "\n".join(
    ["-----BEGIN RSA " + "PRIVATE KEY-----", "MIIEpAIBAAKCAQEA" + OPAQUE, "-----END RSA " + "PRIVATE KEY-----"]
)
TOKENS = {
    "jwt": JWT,
    "aws": "AKIA" + "IOSFODNN7EXAMPLE",
    "aws session": "ASIA" + "IOSFODNN7EXAMPLE",
    "google": "AIza" + "SyA" + "1234567890abcdefghijklmnopqrstuv",
    "google client": "GOCSPX" + "-1mVwFTjGIXgs2BC2uHzks",
    "github": "ghp" + "_" + "16C7e42F292c6912E7710c838347Ae178B4a",
    "github app": "ghs" + "_" + "16C7e42F292c6912E7710c838347Ae178B4a",
    "github fine": "github" + "_pat_" + "11ABCDEFG0123456789_abcdefghijklmnop",
    "gitlab": "glpat" + "-abcdefghij0123456789",
    "slack": "xoxb" + "-123456789012-abcdefABCDEF",
    "slack app": "xapp" + "-1-A012345678-0123456789-abcdef",
    "stripe": "sk" + "_live_" + "4eC39HqLyjWDarjtT1zdp7dc",
    "stripe test": "rk" + "_test_" + "4eC39HqLyjWDarjtT1zdp7dc",
    "stripe webhook": "whsec" + "_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "openai": "sk" + "-abcdefghijklmnopqrst1234567890",
    "openai project": "sk" + "-proj-Abc123_def456-ghi789jkl012",
    "anthropic": "sk" + "-ant-api03-Abc123_def456-ghi789jkl012",
    "npm": "npm" + "_abcdefghijklmnopqrstuvwxyz0123456789",
    "hugging face": "hf" + "_abcdefghijklmnopqrstuvwxyzABCDEFGH",
    "key block": KEY_BLOCK,
    "key of pgp": KEY_BLOCK.replace("RSA PRIVATE KEY", "PGP PRIVATE KEY BLOCK"),
    "half a key block": KEY_BLOCK[:60],
    "key of a service account": KEY_BLOCK.replace("RSA ", "").replace("\n", "\\n"),
    "encrypted key": KEY_BLOCK.replace("RSA", "ENCRYPTED"),
    "key of ssh": KEY_BLOCK.replace("RSA", "OPENSSH"),
    "key of age": "AGE-SECRET" + "-KEY-1" + "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L" * 2,
    "github oauth": "gho" + "_" + LONG[:36],
    "github user": "ghu" + "_" + LONG[:36],
    "github refresh": "ghr" + "_" + LONG[:40],
    "gitlab trigger": "glptt" + "-" + OPAQUE,
    "gitlab deploy": "gldt" + "-" + LONG[:20],
    "gitlab runner": "glrt" + "-" + LONG[:20],
    "gitlab job": "glcbt" + "-64_" + LONG[:20],
    "gitlab application": "glsoat" + "-" + LONG[:20],
    "slack user": "xoxp" + "-123456789012-123456789012-" + OPAQUE,
    "slack configuration": "xoxe" + ".xoxp-1-" + MIXED,
    "slack hook": "https://hooks.slack" + ".com/services/T00000000/B00000000/" + LONG[:24],
    "discord hook": "https://discord" + ".com/api/webhooks/123456789012345678/" + MIXED,
    "telegram bot": "123456789" + ":AA" + LONG[:33],
    "stripe secret test": "sk" + "_test_" + LONG[:24],
    "openai service account": "sk" + "-svcacct-" + MIXED,
    "openai admin": "sk" + "-admin-" + MIXED,
    "openrouter": "sk" + "-or-v1-" + OPAQUE * 2,
    "anthropic admin": "sk" + "-ant-admin01-" + MIXED,
    "anthropic short": "sk" + "-ant-abcdefgh",
    "groq": "gsk" + "_" + LONG[:52],
    "xai": "xai" + "-" + LONG,
    "perplexity": "pplx" + "-" + LONG[:48],
    "replicate": "r8" + "_" + LONG[:37],
    "google access": "ya29" + ".a0AfH6SMBx-" + MIXED,
    "google refresh": "1/" + "/0" + MIXED,
    "sendgrid": "SG" + "." + MIXED[:22] + "." + MIXED + MIXED,
    "vault": "hvs" + ".CAESI" + MIXED,
    "pypi": "pypi" + "-AgEIcHlwaS5vcmc" + LONG,
    "digitalocean": "dop" + "_v1_" + OPAQUE * 2,
    "docker": "dckr" + "_pat_" + LONG[:27],
    "linear": "lin" + "_api_" + LONG[:40],
    "notion": "ntn" + "_" + LONG[:46],
    "sentry": "sntrys" + "_" + LONG[:60],
    "shopify": "shpat" + "_" + OPAQUE,
    "supabase": "sbp" + "_" + OPAQUE + OPAQUE[:8],
}
# Where there is a user's name and a password, or only the latter: each of `{}`.
DSNS = (
    *("postgresql://u:{}@h/d", "postgres://u:{}@h:5432/d?sslmode=require", "postgresql+psycopg://u:{}@h/d"),
    *("postgresql+asyncpg://u:{}@h/d", "postgresql+pg8000://u:{}@h/d", "cockroachdb://u:{}@h:26257/d"),
    *("mysql+pymysql://u:{}@h/d", "mysql+aiomysql://u:{}@h/d", "mysql+mysqldb://u:{}@h/d", "jdbc:mysql://u:{}@h/d"),
    *("mariadb+mariadbconnector://u:{}@h/d", "oracle+oracledb://u:{}@h:1521/?service_name=x"),
    *("mssql+pyodbc://sa:{}@h/d?driver=ODBC+Driver+18", "mssql+pymssql://sa:{}@h/d", "redshift+psycopg2://u:{}@h/d"),
    *("mongodb://u:{}@h1:27017,h2:27017/d?replicaSet=rs", "mongodb+srv://u:{}@h/d", "redis://default:{}@h:6379/0"),
    *("rediss://:{}@h:6380", "redis+sentinel://:{}@h:26379", "clickhouse+native://u:{}@h/d", "trino://u:{}@h/c"),
    *("snowflake://u:{}@acct/d", "couchbase://u:{}@h", "cassandra://u:{}@h", "neo4j+s://u:{}@h", "bolt://u:{}@h"),
    *("amqp://u:{}@h", "amqps://u:{}@h/v", "nats://u:{}@h", "ldap://cn=admin:{}@h", "ldaps://u:{}@h", "imap://u:{}@h"),
    *("smtps://u:{}@h", "sftp://u:{}@h/x", "ssh://u:{}@h", "libsql://u:{}@h", "sqlserver://sa:{}@h?database=d"),
    *("jdbc:postgresql://h/d?user=ada&password={}", "jdbc:sqlserver://h;user=sa;password={};encrypt=true"),
    *("Driver={{ODBC Driver 18}};Server=h;UID=sa;PWD={};", "host=h user=u password='{}' dbname=d"),
    *(
        "Endpoint=sb://x.servicebus.windows.net/;SharedAccessKeyName=k;SharedAccessKey={}",
        "create_engine('mysql://u:{}@h')",
    ),
    *(
        "DefaultEndpointsProtocol=https;AccountName=n;AccountKey={};",
        "https://x.blob.example/c?sv=2021-01-01&sig={}&se=2",
    ),
    *("BlobEndpoint=https://x.blob.example/;SharedAccessSignature=sv=2021&sig={}",),
)
HEADERS = (
    *(
        "Authorization: Basic {}",
        "Proxy-Authorization: Basic {}",
        "Authorization: ApiKey {}",
        "authorization: token {}",
    ),
    *("{{'Authorization': 'Basic {}'}}", "{{'Set-Cookie': 'sid={}; Path=/'}}", "Cookie: a=b; sessionid={}; c=d"),
    *("Set-Cookie: sessionid={}; Path=/; HttpOnly", "X-Amz-Security-Token: {}", "x-goog-api-key: {}", "api-key: {}"),
    *("X-Vault-Token: {}", "PRIVATE-TOKEN: {}", "X-Shopify-Access-Token: {}", "X-Amz-Credential={}"),
    "authorization=AWS4-HMAC-SHA256 Credential=A/2026/us-east-1/s3/aws4_request, SignedHeaders=host, Signature={}",
)

# Keys whose values are secret, as people write them.
KEYS = (
    *("password", "Password", "PASSWORD", "passwd", "pwd", "user_password", "userPassword", "password_confirmation"),
    *("new_password", "old-password", "DB_PASSWORD", "spring.datasource.password", "password1", "userpassword"),
    *("passphrase", "passcode", "secret", "client_secret", "clientSecret", "CLIENT-SECRET", "app.secret", "secrets"),
    *("SECRET_KEY", "secretKey", "secret_key_base", "webhook_secret", "api_key", "apiKey", "APIKey", "apikey"),
    *("x-api-key", "X-Api-Key", "X_API_KEY", "openai_api_key", "ANTHROPIC_API_KEY", "api-keys", "private_key"),
    *(
        "privateKey",
        "private_key_pem",
        "ssh_key",
        "signing_key",
        "encryptionKey",
        "access_key",
        "aws_secret_access_key",
    ),
    *("AccountKey", "SharedAccessKey", "storage_key", "Ocp-Apim-Subscription-Key", "x-functions-key", "master_key"),
    *("token", "Token", "access_token", "accessToken", "refresh_token", "id_token", "auth_token", "X-Auth-Token"),
    *("csrf_token", "csrfmiddlewaretoken", "X-CSRFToken", "xsrf-token", "_csrf", "jwt", "bearer", "AUTHTOKEN"),
    *("authorization", "Authorization", "HTTP_AUTHORIZATION", "proxy-authorization", "cookie", "Cookie", "set-cookie"),
    *("Set-Cookie", "HTTP_COOKIE", "cookies", "session_cookie", "session_id", "sessionId", "sessionid", "SESSION_ID"),
    *("session_key", "session_token", "user_session_id", "PHPSESSID", "JSESSIONID", "sid", "auth", "basic_auth"),
    *("credential", "credentials", "aws_credentials", "connection_string", "connectionString", "smtp_pass", "DB_PASS"),
    *("card_number", "cardNumber", "cardnumber", "credit_card", "creditCardNumber", "cvv", "cvc", "cvv2", "card_cvv"),
    *("ssn", "SSN", "user_ssn", "social_security_number", "otp", "otp_code", "totp", "totp_secret", "seed_phrase"),
    *(
        "aws_session_token",
        "AWS_SESSION_TOKEN",
        "X-Amz-Security-Token",
        "x-goog-api-key",
        "GITHUB_TOKEN",
        "PRIVATE-TOKEN",
    ),
    *("AZURE_CLIENT_SECRET", "SharedAccessSignature", "sas_token", "openai_key", "ANTHROPIC_KEY", "google_credentials"),
    *("stripe_secret", "service_account_key", "refreshtoken", "session_secret", "auth_header", "keystore_password"),
    *("security_code", "cc_number", "mfa_code", "two_factor_code", "backup_codes", "Passwort", "contraseña", "sessid"),
    *("recovery_codes", "oauth_token", "oauthToken", "OAuthToken", "bot_token", "deviceToken", "app_secret_2"),
)
# Keys whose values are not.
INNOCENT_KEYS = (
    *("session_count", "sessions", "session_duration", "session", "author", "authors", "authority", "authorized"),
    *("authenticated", "authentication_method", "auth_type", "auth_method", "oauth_provider", "tokens_used", "tokens"),
    *("token_count", "tokenCount", "max_tokens", "maxTokens", "input_tokens", "output_tokens", "total_tokens"),
    *("token_type", "token_expires_at", "tokenizer", "tokenized", "token_limit", "prompt_tokens_details", "n_tokens"),
    *("time_to_first_token", "cost_per_token", "eos_token", "tokens_per_second", "token_budget_used", "token_usage"),
    *("secretary", "secretariat", "passenger", "passengers", "pass_rate", "passed", "bypass", "compass", "passport"),
    *("cardinal", "cardinality", "card", "cards", "card_type", "card_brand", "card_count", "dashboard", "discard"),
    *("password_changed_at", "password_length", "password_policy", "has_password", "is_secret", "use_cookies"),
    *("password_required", "password_min_length", "requires_password", "secret_name", "secretArn", "secret_version"),
    *("api_key_id", "apiKeyName", "access_key_id", "key", "keys", "key_id", "keyboard", "monkey", "primary_key"),
    *("public_key", "foreign_key", "cache_key", "sort_key", "private_key_path", "private", "credential_type"),
    *("cookie_consent", "cookie_name", "cookies_enabled", "cookie_policy", "csrf_exempt", "csrf_failure_reason"),
    *("jwt_algorithm", "authorization_url", "authorization_endpoint", "connection", "connections", "string"),
    *("user", "username", "user_id", "email", "id", "ids", "name", "status", "path", "code", "signature", "sig"),
    *("pin", "pan", "pinned", "span", "company", "panel", "spin", "hash", "salt", "state", "nonce", "assassin"),
    *("credit", "credits", "card_number_valid", "cvv_check", "ssn_verified", "social", "security", "secure"),
    *("secret_count", "num_secrets", "session_id_count", "max_sessions", "otp_enabled", "totp_required", ""),
    *("tokens_remaining", "token_id", "token_prefix", "cost_per_1k_tokens", "tokenization", "passing", "bypass_rate"),
    *("session_length", "session_start", "session_state", "cookie_count", "cookies_accepted", "secretion", "keynote"),
    *("co_author", "author_id", "authorized_by", "auth_time", "auth_provider", "oauth_scope", "oauth_state", "keyword"),
    *("credential_id", "cardholder", "card_last4", "last4", "expiry", "bearer_type", "jwt_issuer", "api_version"),
    *("iban", "imei", "isbn", "phone", "order_number", "commit", "git_sha", "uuid", "hotkey", "passport_country"),
    *("description", "microsecond", "timestamp", "duration_ms", "bearing", "forbearance", "pwd_changed", "__class__"),
)

# Text with a secret in it: `{}` is where the secret stands.
AROUND = (
    *("password={}", "password = {}", "password: {}", "Password:{}", "PASSWORD={}", "user=ada password={} host=db"),
    *('{{"password": "{}"}}', "{{'password': '{}'}}", '{{\\"password\\": \\"{}\\"}}', 'password="{}"', "password='{}'"),
    *('"apiKey":"{}"', "api_key={}", "x-api-key: {}", "X-Api-Key: {}\r\nHost: shop.example", "client_secret={}&a=b"),
    *(
        "https://shop.example/?token={}",
        "/callback?code={}&state=1",
        "/x?a=1&access_token={}",
        "/x?sig={}",
        "/x?key={}",
    ),
    *("GET /items?api_key={} HTTP/1.1", "wss://x.example/s?auth_token={}&v=2", "next=/login?session_id={}#top"),
    *(
        "postgresql://shop:{}@db.internal:5432/shop",
        "postgresql+psycopg2://shop:{}@db/shop",
        "redis://:{}@cache:6379/0",
    ),
    *("mongodb+srv://u:{}@cluster0.example/db", "amqp://guest:{}@mq//", "https://ada:{}@shop.example/repo.git"),
    *(
        "mysql://root:{}@localhost",
        "smtp://user%40x:{}@mail.example:587",
        "could not reach ftp://u:{}@files.example/a.",
    ),
    *("host=db user=shop password={} dbname=shop", "Server=db;User Id=sa;Password={};Encrypt=yes", "PWD={};"),
    *("AccountName=shop;AccountKey={};EndpointSuffix=core.windows.net", "SharedAccessKey={}", "export DB_PASSWORD={}"),
    *(
        "Authorization: {}",
        "authorization: Token {}",
        "-H 'Authorization: Bearer {}' https://x",
        '"Authorization": "{}"',
    ),
    *("Authorization: Bearer {}", "proxy-authorization: Digest {}", "('authorization', 'x') authorization={}"),
    *("Cookie: theme=dark; sessionid={}", "Set-Cookie: sid={}; HttpOnly; Path=/", "cookie: {}; a=b\nAccept: */*"),
    *(
        "login --password {} --user ada",
        "tool --api-key={} run",
        "mysql --password={}",
        "curl --oauth2-bearer-token {}",
    ),
    *("the password: {}", "login failed, password={}, attempts=3", "User(name='ada', password='{}')", "token={}."),
    *("Login(password=SecretStr('x'), token='{}')", "secret => {}", '"secret" => "{}"', "secrets: [{}]", "secret:\t{}"),
    *("user[password]={}", "form.password={}&form.name=ada", "SECRET_KEY = '{}'", 'password:"{}"', "password=b'{}'"),
    *("retry with client-secret: {}", "ssn={}", "cvv={}", "passphrase={}", "card_number={}", 'password="{} and more"'),
)
# What libraries show of forms, headers, commands and URLs, and what markup has around a value.
SHOWN = (
    *("ImmutableMultiDict([('user', 'ada'), ('password', '{}')])", "FormData([('password', '{}')])"),
    *("<QueryDict: {{'user': ['ada'], 'password': ['{}']}}>", "MultiDict([('a', ['1']), ('token', ['{}'])])"),
    *("Headers([('accept', '*/*'), ('authorization', '{}')])", "Headers(raw=[(b'authorization', b'{}')])"),
    *("[(b'cookie', b'{}', True), (b'a', b'b', False)]", "HTTPHeaderDict({{'Authorization': '{}'}})"),
    *(
        "Command '['mysql', '--password', '{}']' returned non-zero",
        "ran ['curl', '--oauth2-bearer', 'x', '--token', '{}']",
    ),
    *("<password>{}</password>", "<user name='a'><api_key kind='b'>{}</api_key>", "<ns:Password>{}</ns:Password>"),
    *(
        "<password><![CDATA[{}]]></password>",
        "password: |\n  {}\nuser: ada",
        "db:\n  password: >-\n    {}\n  user: ada",
    ),
    *("SplitResult(scheme='postgresql', netloc='u:{}@h:5432', path='/d')", "ParseResult(netloc='u:{}@h', path='')"),
    *(
        "next=%2Flogin%3Ftoken%3D{}",
        "/go?to=https%253A%252F%252Fx%253Fa%253Db%2526token%253D{}",
        "%3Ftoken%3D{}%26a%3D1",
    ),
    *("PWD={{a}}}}{}}};Server=x", 'body={{\\"password\\": \\"a\\\\\\"{}\\"}}', '{{"name": "password={}"}}'),
    *("password=a&{}", "password=a,{}", "password=a<{}", "password=a;{}", "password=a,b&{}, user=ada"),
)
# The same with a value that a database refuses, as text.
REFUSED = (
    "not saved: duplicate key value\nDETAIL:  Key (email)=({}) already exists.",
    "not saved: UniqueViolation('duplicate key value\\nDETAIL:  Key (email)=({}) already exists.')",
    "not saved: duplicate key\nDETAIL:  Key (note)=(one\n\nthree {}) already exists.\nHINT:  None.",
    "not saved: Duplicate entry '{}' for key 'users.email'",
    "not saved: Duplicate entry 'O'Brien's {}' for key 'users.email'",
    "not saved: Duplicate entry 'O'Brien's {}",
    "not saved: Duplicate entry '{}' again",
    "not saved: Incorrect date value: '{}' in row 7, 40 rows were",
    "not saved: syntax to use near 'x', '{}')' at line 1",
    "not saved: UniqueViolation('k\\nDETAIL:  Key (note)=(one\\ntwo {}) already exists.\\nHINT:  None.')",
    "not saved: UniqueViolation(\"k\\nDETAIL:  Key (a, b)=(O'Brien', {}) already exists.\")",
    "not saved: SyntaxError('no column\\nLINE 1: SELECT {}, b\\n               ^')",
    "not saved: can't read it\nLINE 1: SELECT '{}', b\n               ^",
    'not saved: can\'t read it\nCONTEXT:  COPY users, line 3, column age: "{}"',
    "not saved: Failed('no\\nCONTEXT:  COPY users, line 3: {}')",
    'not saved: E11000 dup key: {{ email: "{}" }}',
    "not saved: The duplicate key value is ({}).",
    "not saved: error\nQUERY:  INSERT INTO users VALUES ('{}')",
)
# What looks like these, and is none.
ALIKE = (
    *("('password', 'email')", "fields = ['password', 'token', 'email']", "choices [('a', 'b'), ('user', 'ada')]"),
    *("usage: login <user> <password> [<token>]", "<b>password</b>", "<p>secret</p>", "it's the user's password"),
    *(
        "DETAIL: 5 plates",
        "Don't guess.\n\nCONTEXT:\nOpening hours are 9 to 5.\n\nQUESTION: When do you open?\nANSWER: At 9.",
        "Don't guess.\nCONTEXT: hours\nDETAIL: none\nQUERY: when",
        "asked 'Do not guess.\\nCONTEXT: hours\\nDETAIL: none\\nQUERY: when' of it",
        "import report (of today):\nLINE 12: skipped (no price)\nLINE 13: read",
        "import report ('today\\nLINE 12: skipped\\nLINE 13: read')",
        "LINE 1: plate",
        "no entry 'x' here",
        "near 'x'",
        "100% of 30%3D",
        "a%20b%3F",
        "%3D",
        "50%25",
    ),
    *(
        "['ls', '-l', '--token-count', '7']",
        "netloc='shop.example:8080'",
        "password: |",
        "x = {a: {b}}",
        "['--password']",
    ),
)
AROUND_OPAQUE = ("Bearer {}", "bearer {}", "BEARER {}", "sent 'Bearer {}' to it", "header was Bearer\t{}, refused")
BASIC = "Basic " + b64encode(f"ada:{SECRET}".encode()).decode()

# What drivers and validators say, with a value of the application in it.
ERRORS = (
    'duplicate key value violates unique constraint "users_email_key"\nDETAIL:  Key (email)=({}) already exists.',
    'null value in column "name" of relation "users" violates not-null constraint\n'
    "DETAIL:  Failing row contains (17, null, {}, 2026-11-03).\n",
    'duplicate key value violates "k"\nDETAIL:  Key (note)=(two\nlines {}) already exists.\nHINT:  None.',
    "invalid input syntax for type integer: \"{}\"\nLINE 1: INSERT INTO users VALUES ('{}')\n                        ^",
    'invalid input syntax for type integer: "{}"\nCONTEXT:  COPY users, line 3, column age: "{}"',
    'invalid input value for enum mood: "{}"',
    "invalid input for query argument $1: '{}' (an integer is required (got type str))",
    "(psycopg.errors.UniqueViolation) duplicate key value\nDETAIL:  Key (email)=({}) already exists.\n"
    "[SQL: INSERT INTO users (email) VALUES (%(email)s)]\n[parameters: {{'email': '{}'}}]\n"
    "(Background on this error at: https://sqlalche.me/e/20/gkpj)",
    "(sqlite3.IntegrityError) UNIQUE constraint failed: users.email\n[SQL: INSERT INTO users VALUES (?)]\n"
    "[parameters: [('{}',), ('x]y',)  ... displaying 10 of 99 total bound parameter sets ...  ('{}',)]]",
    "(1062, \"Duplicate entry '{}' for key 'users.email'\")",
    "(1366, \"Incorrect integer value: '{}' for column 'age' at row 1\")",
    "(1292, \"Truncated incorrect DOUBLE value: '{}'\")",
    "(1064, \"You have an error in your SQL syntax; check the manual for the syntax to use near '{}')' at line 1\")",
    "Violation of UNIQUE KEY constraint 'UQ'. Cannot insert duplicate key in object 'dbo.users'. "
    "The duplicate key value is ({}).",
    'E11000 duplicate key error collection: shop.users index: email_1 dup key: {{ email: "{}" }}',
    "1 validation error for User\nage\n  Input should be a valid integer "
    "[type=int_parsing, input_value='{}', input_type=str]",
)

# Text without a secret.
INNOCENT = (
    *("da39a3ee5e6b4b0d3255bfef95601890afd80709", "commit 6ab31e7", "merge 4bf92f3577b34da6a3ce929d0e0e4736 into main"),
    *(
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "hash=da39a3ee5e6b4b0d3255bfef95601890",
    ),
    *(
        "traceparent=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        'ETag: "33a64df551425fcc55e4d42a148795d9"',
    ),
    *("order 2026-1103-0007-1234", "PO-2026-0001234567890", "order_id=5105105105105101", "invoice 20261103-000123"),
    *("1730635811123", "2026-11-03 12:30:11.123456", "20261103123011123", "1730635811123456789", "2026-W45-3"),
    *("+49 30 1234567890", "+1 (555) 123-4567", "555-123-4567-8901", "tel:+442071838750", "0049 30 4111 1111"),
    *("DE89 3704 0044 0532 0130 00", "DE89370400440532013000", "GB29 NWBK 6016 1331 9268 19", "NO93 8601 1117 947"),
    *("GB29NWBK60161331926819", "FR14 2004 1010 0505 0001 3M02 606", "NL91 ABNA 0417 1643 00", "BIC COBADEFFXXX"),
    *("isbn 978-3-16-148410-0", "ean 4006381333931", "imei 490154203237518", "snowflake 175928847299117063"),
    *("pk_live_abcdefghijklmnopqrst1234", "pk_test_abcdefghijklmnopqrst1234", "arn:aws:iam::123456789012:user/ada"),
    *("ami-0abcdef1234567890", "i-0abcdef1234567890", "projects/shop/secrets/db/versions/3", "secretmanager.example"),
    *("ask-the-experts-2026-session-notes-v2", "risk-adjusted-returns-2026-q4-report", "mask-token-count"),
    *("https://hooks.slack.com/docs", "https://discord.com/api/v10/users", "bot 12345678:AA", "1//0", "1//2", "ya29"),
    *("SG. 7", "hvs.", "gsk_engine", "xai-labs", "pplx score", "r8_model", "dop_v1_", "shpat_", "lin_api_v2", "ntn_x"),
    *("sntrys_", "pypi-server-2.1", "glrt-", "gldt-x", "AGE-SECRET-KEY-1", "xoxe.", "pat_answer_17", "sbp_1", "AIzaac"),
    *("token_type: Bearer", "max_tokens: 4096", "tokens_used=812", "session_count: 7", "compass=n", "secretary: Bob"),
    *("input_tokens=5 output_tokens=9 total_tokens=14", "tokens/s: 41.5", "stop_token: </s>", "cost_per_token=0.001"),
    *("postgresql+psycopg://u:***@h/d", "Connected to amqp://guest:**@localhost:5672//", "https://u:*@h/"),
    *("basic research", "bearer bonds", "passed=12 failed=0", "passport=required", "bypass: true", "cache_key=a:b:c"),
    *("lat=52.5200 lon=13.4050", "mac=00:1A:2B:3C:4D:5E", "2001:db8::ff00:42:8329", "v=1.2.3-rc.1+build.5"),
    *("order paid", "request", "GET /items/7 200 12ms", "session_count=5", "tokens_used: 7", "author=Ada Lovelace"),
    *("Invalid token: unexpected end of input", "password: must be longer than 8 characters", "secret: not found here"),
    *(
        "Unexpected token: '}' at position 12",
        "wrong password",
        "no password given",
        "the password is wrong",
        "token expired",
    ),
    *("Bearer token missing", "bearer authentication is required", "Basic authentication failed", "use Basic auth"),
    *("password=None", "token=null", "password=''", 'password=""', "password=***", "secret=<missing>", "token=%s"),
    *(
        "password=${DB_PASSWORD}",
        "password: str",
        "password: str = None",
        "INSERT INTO t VALUES (:password)",
        "token=?",
    ),
    *("https://host:8080/path?email=ada@shop.example", "http://shop.example:80/", "mailto:ada@shop.example", "a:b@c"),
    *(
        "postgresql://db.internal:5432/shop",
        "postgresql://shop@db.internal/shop",
        "redis://cache:6379/0",
        "user@host:path",
    ),
    *("2026-11-03T12:30:11.123456Z", "12:30:11", "10.0.0.1:5432", "fe80::1", "/srv/shop/app.py:17", "C:\\Users\\ada"),
    *("550e8400-e29b-41d4-a716-446655440000", "1700000000000", "1700000000000000000", "3.4111111111111111", OPAQUE),
    *("4111111111111112", "41111111111111111111111", "id4111111111111111", "0.4111111111111111", "4111 1111 1111 1112"),
    *("tel. 4111 111 111", "9111111111111111", "1234567890123", "order 5105105105105101", "x-4111111111111111-y"),
    *("key=value", "code=200", "state=open", "sig=ok", "GET /?code_page=7", "signature=def f(x)", "a=1&b=2", "hmac=1"),
    *(
        "sk-learn",
        "task-1234567890abcdefghijk",
        "desk-abcdefghijklmnopqrst1234",
        "risk-free-and-long-words-1",
        "xoxo-hugs",
    ),
    *(
        "eyJ is not enough",
        "AKIA",
        "AKIAshort",
        "AIza",
        "ghp_",
        "github_pattern",
        "sk_live",
        "hf_model",
        "npm_config_x",
    ),
    *(
        "-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----",
        "-----",
        "--verbose --token-count 7",
        "-- a comment",
    ),
    *("passenger: Ada", "secretary=Bob", "cardinal: 7", "compass=north", "monkey=1", "keyboard: qwerty", "author: x"),
    *(
        "max_tokens=4096",
        "token_type=bearer",
        "password_changed_at=2026-11-03",
        "cookie_consent=accepted",
        "auth_type: oidc",
    ),
    *(
        "SELECT password FROM users WHERE id = 7",
        "UPDATE users SET token_count = token_count + 1",
        "if token == other:",
    ),
    *("x" * 5000, "ä" * 100, "=" * 100, ":" * 100, "@" * 100, "://@:" * 20, "", " ", "\n", "\x00", "…"),
    *("ValueError: invalid literal for int() with base 10: 'x'", "KeyError: 'password'", "[redacted:password]"),
    *(
        "password=[redacted:password]",
        "Authorization: [redacted:authorization]",
        "postgres://u:[redacted:url_password]@h",
    ),
)
