SUMMARY = "Pumice's agent, which serves a dispatcher on a serial line"
LICENSE = "MIT | Apache-2.0"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

# An example; packaging/README.md says how it is used. files/pumice-agent is what cross/build-agent printed for the machine.
# It is static.
SRC_URI = "file://pumice-agent file://pumice-agent.service"
S = "${WORKDIR}"

# The line that it serves, such as /dev/ttyS0; the console where this is empty.
PUMICE_LINE ?= ""

inherit systemd
SYSTEMD_SERVICE:${PN} = "pumice-agent.service"
INSANE_SKIP:${PN} = "already-stripped"

do_install() {
    install -D -m 0755 ${S}/pumice-agent ${D}/sbin/pumice-agent
    install -D -m 0644 ${S}/pumice-agent.service ${D}${systemd_system_unitdir}/pumice-agent.service
    if [ -n "${PUMICE_LINE}" ]; then
        sed -i 's|^ExecStart=.*|& --line ${PUMICE_LINE}|' ${D}${systemd_system_unitdir}/pumice-agent.service
    fi
}

FILES:${PN} = "/sbin/pumice-agent ${systemd_system_unitdir}/pumice-agent.service"
