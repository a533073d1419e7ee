"""An authority and certificates for tests, made with the openssl command."""

import ssl
import subprocess


def openssl(*words):
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


class Authority:
    """Its certificate is `ca`; issue() makes more in the same directory."""

    def __init__(self, directory):
        self.directory = directory
        directory.mkdir(exist_ok=True)
        self.ca, self.key = directory / "ca.pem", directory / "ca.key"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 30,
                "-subj", "/CN=tests", "-keyout", self.key, "-out", self.ca)
        self.issued = 0

    def issue(self, name, hosts="DNS:localhost,IP:127.0.0.1", days=30):
        """(certificate, key) as paths."""
        self.issued += 1
        cert, key = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        request, names = self.directory / f"{name}.csr", self.directory / f"{name}.ext"
        names.write_text(f"subjectAltName={hosts}\n")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                "-keyout", key, "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.key, "-days", days, "-extfile", names,
                "-set_serial", self.issued, "-out", cert)
        return cert, key

    def client_context(self, identity=None):
        context = ssl.create_default_context(cafile=self.ca)
        if identity:
            context.load_cert_chain(*identity)
        return context
