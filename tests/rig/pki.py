# SPDX-License-Identifier: GPL-2.0-or-later
"""Certificates for links with TLS, made for a test."""

import shutil
import ssl
import subprocess
import warnings
from pathlib import Path

#: What a server's certificate says.
HOST = "server.vtoe.test"


class Pki:
    """Certificates of two authorities, in folders as QEMU wants them."""

    def __init__(self, folder):
        self.folder = Path(folder)
        for ca in "good", "bad":
            self._openssl("req", "-x509", *self._key(f"{ca}-ca"), "-days", 2,
                          # The same name: who looks at it alone is deceived.
                          "-out", f"{ca}-ca.pem", "-subj", "/CN=the CA",
                          "-addext", "basicConstraints=critical,CA:true",
                          "-addext", "keyUsage=critical,keyCertSign")
        self.make("server", "server", HOST)
        self.make("expired-server", "server", HOST, days=-1)
        for name in "left", "right":
            self.make(name, "client", name)
        self.make("expired", "client", "left", days=-1)
        self.make("stranger", "client", "left", ca="bad")
        self.make("nobody", "client", "left")
        for part in "cert", "key":
            (self.folder / "nobody" / f"client-{part}.pem").unlink()

    @staticmethod
    def _key(name):
        return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                "-nodes", "-keyout", f"{name}.key")

    def _openssl(self, *words):
        subprocess.run(["openssl", *map(str, words)], check=True,
                       cwd=self.folder, capture_output=True)

    def make(self, name, end, common, ca="good", days=2):
        """The folder NAME for an end, "server" or "client"."""
        into = self.folder / name
        into.mkdir()
        # A stranger knows whom to trust; nobody trusts it.
        shutil.copy(self.folder / "good-ca.pem", into / "ca-cert.pem")
        (self.folder / f"{name}.ext").write_text(
            "basicConstraints=critical,CA:false\n"
            "keyUsage=critical,digitalSignature\n"
            f"extendedKeyUsage={end}Auth\nsubjectAltName=DNS:{common}\n")
        self._openssl("req", "-new", *self._key(name), "-out", f"{name}.csr",
                      "-subj", f"/CN={common}")
        self._openssl("x509", "-req", "-in", f"{name}.csr", "-days", days,
                      "-CA", f"{ca}-ca.pem", "-CAkey", f"{ca}-ca.key",
                      "-CAcreateserial", "-extfile", f"{name}.ext",
                      "-out", into / f"{end}-cert.pem")
        shutil.copy(self.folder / f"{name}.key", into / f"{end}-key.pem")

    def creds(self, name, end="client", **more):
        """The -object for QEMU."""
        options = {"id": name, "endpoint": end, "dir": self.folder / name,
                   "sanity-check": "off", **more}
        return "tls-creds-x509," + ",".join(f"{k}={v}"
                                            for k, v in options.items())

    def context(self, name, version=None):
        """For a client of ours, which may know one version only."""
        context = ssl.create_default_context(
            cafile=self.folder / "good-ca.pem")
        context.load_cert_chain(self.folder / name / "client-cert.pem",
                                self.folder / name / "client-key.pem")
        if version:
            context.set_ciphers("ALL:@SECLEVEL=0")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")     # some are deprecated
                context.minimum_version = version
                context.maximum_version = version
        return context
