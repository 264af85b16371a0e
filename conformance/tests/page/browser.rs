//! A real headless Chromium, driven by its DevTools protocol over a pipe: no port, no driver.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

const BROWSERS: [&str; 3] = ["chromium-headless-shell", "chromium", "google-chrome"];

/// Started and killed with its value. Everything it writes is in a folder of its own.
pub(crate) struct Browser {
    process: Child,
    say: ChildStdin,
    hear: BufReader<ChildStdout>,
    last: u64,
    session: Option<String>,
    _profile: TempDir,
}

/// A test needs the browser: without one it fails, and says what to do.
fn installed() -> &'static str {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let there = |name: &&&str| std::env::split_paths(&paths).any(|dir| dir.join(name).is_file());
    BROWSERS.iter().find(there).unwrap_or_else(|| {
        panic!("no Chromium ({BROWSERS:?}); install one: ./dev setup chromium, or apt-get install chromium")
    })
}

impl Browser {
    /// Starts it and opens the page.
    pub(crate) fn open(page: &Path) -> Self {
        let profile = tempfile::tempdir().unwrap();
        // The protocol is on file descriptors 3 and 4; the shell puts our pipes there.
        let mut process = Command::new("sh")
            .args(["-c", r#"exec "$@" 3<&0 4>&1 0</dev/null 1>&2"#, "sh"])
            .arg(installed())
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
            ])
            .args([
                "--no-first-run",
                "--disable-background-networking",
                "--disable-breakpad",
            ])
            .args(["--remote-debugging-pipe", "--window-size=1200,900"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let say = process.stdin.take().unwrap();
        let hear = BufReader::new(process.stdout.take().unwrap());
        let mut browser = Self {
            process,
            say,
            hear,
            last: 0,
            session: None,
            _profile: profile,
        };
        let url = format!("file://{}", page.display());
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let id = &target["targetId"];
        let attached = browser.call(
            "Target.attachToTarget",
            json!({ "targetId": id, "flatten": true }),
        );
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        browser.call("Page.enable", json!({}));
        browser.call("Page.navigate", json!({ "url": url }));
        browser.wait_for("Page.loadEventFired");
        browser
    }

    /// Sends a command and waits for its result.
    fn call(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        write!(self.say, "{message}\0").expect("the browser to listen");
        loop {
            let heard = self.next();
            if heard["id"] == json!(self.last) {
                assert!(heard["error"].is_null(), "{method}: {}", heard["error"]);
                return heard["result"].clone();
            }
        }
    }

    fn wait_for(&mut self, event: &str) {
        while self.next()["method"] != json!(event) {}
    }

    fn next(&mut self) -> Value {
        let mut message = Vec::new();
        self.hear
            .read_until(0, &mut message)
            .expect("the browser to speak");
        assert_eq!(message.pop(), Some(0), "the browser ended");
        serde_json::from_slice(&message).unwrap()
    }

    /// What a script in the page gives.
    pub(crate) fn evaluate(&mut self, script: &str) -> Value {
        let params = json!({ "expression": script, "returnByValue": true });
        let done = self.call("Runtime.evaluate", params);
        let thrown = &done["exceptionDetails"];
        assert!(thrown.is_null(), "{script}: {thrown}");
        done["result"]["value"].clone()
    }

    /// Clicks with the mouse where the element is: one that is hidden or covered is not hit.
    pub(crate) fn click(&mut self, selector: &str) {
        let place = self.evaluate(&format!(
            "(() => {{ const e = document.querySelector({selector:?});
               e.scrollIntoView({{ block: 'center' }});
               const r = e.getBoundingClientRect();
               return [r.x + r.width / 2, r.y + r.height / 2]; }})()"
        ));
        for kind in ["mousePressed", "mouseReleased"] {
            let (x, y) = (&place[0], &place[1]);
            let params = json!({ "type": kind, "x": x, "y": y, "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", params);
        }
    }

    /// Types into what has the focus.
    pub(crate) fn type_text(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// Presses and releases a key of this name.
    pub(crate) fn press(&mut self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            self.call(
                "Input.dispatchKeyEvent",
                json!({ "type": kind, "key": key }),
            );
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Asked first, so that its helpers end as well; then not asked any more.
        let _ = write!(
            self.say,
            "{}\0",
            json!({ "id": 0, "method": "Browser.close" })
        );
        for _ in 0..100 {
            if matches!(self.process.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(30));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
